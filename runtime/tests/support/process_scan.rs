//! Watches the argument lists and environments of every process on the machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Samples `/proc` in a thread of its own until it is asked for its findings.
pub struct ProcessScan {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Findings>,
}

/// What was seen.
#[derive(Default)]
pub struct Findings {
    /// Argument lists and environments that held a needle.
    pub leaks: Vec<String>,
    /// How many processes were looked at that ran git's HTTP transport: 0 means that the scan was too slow.
    pub transports: usize,
}

impl ProcessScan {
    pub fn start(needles: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut findings = Findings::default();
            while !flag.load(Ordering::Acquire) {
                sample(&needles, &mut findings);
                std::thread::sleep(Duration::from_millis(2));
            }
            findings
        });
        Self { stop, thread }
    }

    pub fn finish(self) -> Findings {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("the thread ends")
    }
}

fn sample(needles: &[String], findings: &mut Findings) {
    let own = std::process::id().to_string();
    for entry in std::fs::read_dir("/proc")
        .expect("there is /proc")
        .flatten()
    {
        let name = entry.file_name();
        let is_process = name
            .to_str()
            .is_some_and(|name| name != own && name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        for file in ["cmdline", "environ"] {
            // Processes end while they are looked at.
            let content = std::fs::read(entry.path().join(file)).unwrap_or_default();
            let content = String::from_utf8_lossy(&content).replace('\0', " ");
            if file == "cmdline" && content.contains("remote-http") {
                findings.transports += 1;
            }
            if needles.iter().any(|needle| content.contains(needle)) {
                findings.leaks.push(format!("{file}: {content}"));
            }
        }
    }
}
