//! Starts the server and stops it again.

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use cloud_agent_wire::BootId;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::children;
use crate::config::{Config, ConfigError};
use crate::context::Context;
use crate::git::version::{self, Version};
use crate::limits::SHUTDOWN_GRACE;
use crate::server::{App, connections};
use crate::session::recover;
use crate::store::root::Store;
use crate::strays::kill_leftovers;

/// Runs until a signal asks for the end. 0 after an orderly end, 2 when the configuration does not fit the machine,
/// 1 when something else fails.
pub fn main(config: Config) -> ExitCode {
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error.line);
            ExitCode::from(error.code)
        }
    }
}

/// Why the server did not start, or failed.
struct Failed {
    code: u8,
    line: String,
}

impl Failed {
    /// A variable asks for something that this machine does not give.
    fn config(line: impl std::fmt::Display) -> Self {
        Self {
            code: crate::EXIT_CONFIG,
            line: line.to_string(),
        }
    }

    fn system(what: &str, error: &dyn std::fmt::Display) -> Self {
        Self {
            code: 1,
            line: format!("{what}: {error}"),
        }
    }
}

fn run(config: Config) -> Result<(), Failed> {
    harden(config.agent_uid.is_some())
        .map_err(|error| Failed::system("the process could not be hardened", &error))?;
    let context = context(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failed::system("the event loop could not be started", &error))?;
    let killed = kill_leftovers(context.store.id(), context.config.agent_uid);
    if killed > 0 {
        tracing::warn!(
            killed,
            "killed processes that an earlier runtime left behind"
        );
    }
    recover(&context)
        .map_err(|error| Failed::config(format!("WORKSPACE_ROOT cannot be read: {error}")))?;
    runtime.block_on(async {
        let address = (context.config.host, context.config.port);
        let listener = TcpListener::bind(address).await.map_err(|error| {
            Failed::config(format!("HOST and PORT cannot be listened on: {error}"))
        })?;
        serve(context, listener)
            .await
            .map_err(|error| Failed::system("the server failed", &error))
    })
}

/// Changes with every boot of the machine.
const MACHINE_BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// No memory of this process or its children lands in a core file, and other processes of its user cannot read
/// its memory and environment. An agent that is a user of its own gains no rights by programs that give some, such as
/// `sudo`: what this thread gives up, every later thread and child does without.
fn harden(has_agent_user: bool) -> io::Result<()> {
    if has_agent_user {
        rustix::thread::set_no_new_privs(true)?;
    }
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    children::inherit()
}

fn context(config: Config) -> Result<Arc<Context>, Failed> {
    let git = version::find(&config.path).ok_or_else(|| Failed::config(ConfigError::no_git()))?;
    let git_version =
        installed_version(&git).map_err(|error| Failed::system("git --version failed", &error))?;
    if !git_version.pins_addresses() {
        return Err(Failed::config(ConfigError::old_git()));
    }
    if !git_version.is_fixed() {
        tracing::warn!(code = "git_too_old", version = %git_version, "this git release lacks security fixes unless the distribution patched it");
    }
    let store = Store::open(&config.root, config.agent_uid.is_some()).map_err(|error| {
        Failed::config(match error.kind() {
            io::ErrorKind::WouldBlock => "WORKSPACE_ROOT is in use by another runtime".to_owned(),
            _ => format!("WORKSPACE_ROOT cannot be used: {error}"),
        })
    })?;
    let program = std::env::current_exe()
        .map_err(|error| Failed::system("the program's own path is unknown", &error))?;
    let boot_id: BootId = Uuid::new_v4()
        .to_string()
        .parse()
        .map_err(|error| Failed::system("there is no boot id", &error))?;
    let machine_boot = std::fs::read_to_string(MACHINE_BOOT)
        .map(|text| text.trim().to_owned())
        .map_err(|error| Failed::system("the machine's boot id is unknown", &error))?;
    Ok(Arc::new(Context {
        config,
        store,
        boot_id,
        machine_boot,
        git,
        git_version,
        program,
    }))
}

fn installed_version(git: &std::path::Path) -> io::Result<Version> {
    let output = Command::new(git).arg("--version").env_clear().output()?;
    Version::parse(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| io::Error::other("the output is no version"))
}

async fn serve(context: Arc<Context>, listener: TcpListener) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let address = listener.local_addr()?;
    let app = App::new(Arc::clone(&context));
    tracing::info!(store = %context.store.id(), boot = %context.boot_id, git = %context.git_version, %address, "listening");
    // Scripts wait for exactly this line.
    let mut stdout = io::stdout();
    writeln!(stdout, "workspace-runtime listening on http://{address}")?;
    stdout.flush()?;

    tokio::spawn(async {
        if let Err(error) = children::collect_always().await {
            tracing::error!(error = %error, "inherited processes are not collected");
        }
    });
    let router = app.router();
    let stopped = CancellationToken::new();
    let head_time = context.config.deadlines.head;
    let server = connections::serve(listener, router, head_time, stopped.clone());
    let server = tokio::spawn(server);
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        if tokio::time::timeout(SHUTDOWN_GRACE, app.stop())
            .await
            .is_err()
        {
            tracing::error!("something did not end in time");
        }
        stopped.cancel();
    };
    stop.await;
    match tokio::time::timeout(SHUTDOWN_GRACE, server).await {
        Ok(Err(error)) => Err(io::Error::other(error)),
        // A caller that never ends does not keep the process alive.
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}
