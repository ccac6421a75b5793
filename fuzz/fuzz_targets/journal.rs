//! A journal's segment after a crash, and the lines that the object reads: whole events or nothing.
#![no_main]

use cloud_agent_session::ndjson::LineSplitter;
use cloud_agent_wire::JournalEvent;
use libfuzzer_sys::fuzz_target;
use workspace_runtime::untrusted::journal_events;

fuzz_target!(|data: &[u8]| {
    let first = u64::from(data.first().copied().unwrap_or(1));
    let content = data.get(1..).unwrap_or_default();
    let (events, bytes) = journal_events(content, first);
    let bytes = usize::try_from(bytes).expect("it is a length");
    assert!(bytes <= content.len());
    assert_eq!(
        journal_events(&content[..bytes], first),
        (events, bytes as u64)
    );
    let mut splitter = LineSplitter::default();
    let cut = content.len() / 2;
    let Ok(mut lines) = splitter.push(&content[..cut]) else {
        return;
    };
    if let Ok(more) = splitter.push(&content[cut..]) {
        lines.extend(more);
    }
    let whole = LineSplitter::default().push(content);
    assert_eq!(whole.ok(), Some(lines.clone()));
    for line in lines {
        if let Ok(event) = serde_json::from_slice::<JournalEvent>(&line) {
            let written = serde_json::to_vec(&event).expect("an event serializes");
            let read: JournalEvent = serde_json::from_slice(&written).expect("it is read again");
            let again = serde_json::to_vec(&read).expect("an event serializes");
            assert_eq!(written, again);
        }
    }
});
