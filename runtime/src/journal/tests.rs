use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cloud_agent_wire::{EventSequence, Generation, JournalEvent, RuntimeEvent};
use tokio_util::sync::CancellationToken;

use super::{AppendError, Journal, Reader};
use crate::limits::{JOURNAL_BYTES_MAX, JOURNAL_BYTES_RESERVED, JOURNAL_SEGMENT_BYTES};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("journal-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&path).expect("the folder is new");
        Self(path)
    }

    fn journal(&self) -> Arc<Journal> {
        Arc::new(Journal::open(&self.0.join("journal"), |_| {}).expect("the journal opens"))
    }

    fn segments(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = fs::read_dir(self.0.join("journal"))
            .expect("the folder is there")
            .map(|entry| entry.expect("the entry is readable").path())
            .collect();
        paths.sort();
        paths
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder is there");
    }
}

fn event(generation: u64) -> RuntimeEvent {
    RuntimeEvent::CredentialRefused {
        generation: Generation::new(generation),
    }
}

fn output(bytes: usize) -> RuntimeEvent {
    RuntimeEvent::Output {
        message_id: "msg_0123456789abABCDEFGHIJKLMN"
            .parse()
            .expect("the id is valid"),
        text: "x".repeat(bytes),
    }
}

async fn read(journal: &Arc<Journal>, after: u64) -> Vec<u64> {
    let mut reader = Reader::new(Arc::clone(journal), EventSequence::new(after));
    let mut sequences = Vec::new();
    while let Some(lines) = reader.read().await.expect("the journal is readable") {
        for line in lines
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            let event: JournalEvent = serde_json::from_slice(line).expect("the line is an event");
            sequences.push(event.seq.get());
        }
    }
    sequences
}

#[tokio::test]
async fn events_are_numbered_from_one_and_survive_a_restart() {
    let folder = Folder::new();
    let journal = folder.journal();
    for number in 1..=3 {
        let sequence = journal.append(event(number)).expect("it is appended");
        assert_eq!(sequence.get(), number);
    }
    drop(journal);
    let journal = folder.journal();
    assert_eq!(journal.append(event(4)).expect("it is appended").get(), 4);
    assert_eq!(read(&journal, 0).await, [1, 2, 3, 4]);
    assert_eq!(read(&journal, 2).await, [3, 4]);
    assert!(read(&journal, 4).await.is_empty());
}

#[tokio::test]
async fn a_torn_last_line_is_dropped_and_its_number_given_again() {
    let folder = Folder::new();
    let journal = folder.journal();
    journal.append(event(1)).expect("it is appended");
    drop(journal);
    for torn in ["{\"seq\":2,\"at\":1,\"ev", "not json\n", "{\"seq\":9}\n"] {
        let path = folder.segments().pop().expect("there is a segment");
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(path)
            .expect("it opens");
        file.write_all(torn.as_bytes()).expect("it is written");
        let journal = folder.journal();
        assert_eq!(read(&journal, 0).await, [1]);
    }
    let journal = folder.journal();
    assert_eq!(journal.append(event(2)).expect("it is appended").get(), 2);
    assert_eq!(read(&journal, 0).await, [1, 2]);
}

#[tokio::test]
async fn a_full_journal_makes_output_wait_but_not_the_end_of_a_turn() {
    let folder = Folder::new();
    let journal = folder.journal();
    let cancel = CancellationToken::new();
    let mut newest = 0;
    loop {
        let append = journal.append_output(output(100_000), &cancel);
        match tokio::time::timeout(Duration::from_millis(200), append).await {
            Ok(sequence) => newest = sequence.expect("it is appended").get(),
            Err(_) => break,
        }
    }
    assert!(newest > 60, "{newest} events fit");
    let end = journal
        .append(event(1))
        .expect("the reserve takes it")
        .get();
    assert_eq!(end, newest + 1);

    let waiting = journal.append_output(output(100_000), &cancel);
    let acknowledge = async {
        let half = EventSequence::new(newest / 2);
        journal.acknowledge(half).expect("it is acknowledged");
    };
    let (sequence, ()) = tokio::join!(waiting, acknowledge);
    assert_eq!(sequence.expect("there is room again").get(), end + 1);
    let on_disk: u64 = folder
        .segments()
        .iter()
        .map(|path| fs::metadata(path).expect("it is there").len())
        .sum();
    assert!(on_disk < JOURNAL_BYTES_MAX - JOURNAL_BYTES_RESERVED);
    let left = read(&journal, newest / 2).await;
    assert_eq!(left.first(), Some(&(newest / 2 + 1)));
    assert_eq!(left.last(), Some(&(end + 1)));
}

#[tokio::test]
async fn numbers_go_on_after_everything_was_acknowledged() {
    let folder = Folder::new();
    let journal = folder.journal();
    for _ in 0..20 {
        journal.append(output(30_000)).expect("it is appended");
    }
    journal
        .acknowledge(EventSequence::new(20))
        .expect("it is acknowledged");
    assert_eq!(folder.segments().len(), 1);
    drop(journal);
    let journal = folder.journal();
    assert_eq!(journal.append(event(1)).expect("it is appended").get(), 21);
    assert_eq!(read(&journal, 20).await, [21]);
}

#[tokio::test]
async fn a_reader_that_is_ahead_never_sees_a_number_twice() {
    let folder = Folder::new();
    let journal = folder.journal();
    journal.append(event(1)).expect("it is appended");
    journal
        .acknowledge(EventSequence::new(50))
        .expect("it is acknowledged");
    assert_eq!(journal.append(event(2)).expect("it is appended").get(), 51);
    assert_eq!(read(&journal, 50).await, [51]);
}

#[tokio::test]
async fn a_closed_journal_takes_nothing_and_wakes_its_readers() {
    let folder = Folder::new();
    let journal = folder.journal();
    let mut reader = Reader::new(Arc::clone(&journal), EventSequence::new(0));
    assert!(reader.read().await.expect("it is readable").is_none());
    journal.close();
    reader.changed().await;
    assert!(reader.is_closed());
    assert!(matches!(journal.append(event(1)), Err(AppendError::Closed)));
}

#[tokio::test]
async fn a_segment_that_cannot_be_begun_costs_no_event_and_no_number() {
    let folder = Folder::new();
    let journal = folder.journal();
    journal.append(event(1)).expect("it is appended");
    let (path, away) = (folder.0.join("journal"), folder.0.join("away"));
    fs::rename(&path, &away).expect("it is there");
    let ahead = EventSequence::new(50);
    assert!(journal.acknowledge(ahead).is_err());
    fs::rename(&away, &path).expect("it is there");
    // As after a try that failed when it had made the file.
    fs::write(path.join(format!("{:020}.ndjson", 2)), "").expect("it is written");
    assert_eq!(journal.append(event(2)).expect("it is appended").get(), 2);
    drop(journal);
    let journal = folder.journal();
    assert_eq!(read(&journal, 0).await, [1, 2]);
    fs::write(path.join(format!("{:020}.ndjson", 51)), "").expect("it is written");
    journal.acknowledge(ahead).expect("it is acknowledged");
    assert_eq!(journal.append(event(3)).expect("it is appended").get(), 51);
}

#[tokio::test]
async fn output_waits_for_a_disk_that_refuses_it() {
    let folder = Folder::new();
    let journal = folder.journal();
    let cancel = CancellationToken::new();
    let full = usize::try_from(JOURNAL_SEGMENT_BYTES).expect("it is small");
    journal.append(output(full)).expect("it is appended");
    let (path, away) = (folder.0.join("journal"), folder.0.join("away"));
    fs::rename(&path, &away).expect("it is there");
    let waiting = journal.append_output(output(1), &cancel);
    let mut waiting = std::pin::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut waiting).await;
    assert!(early.is_err(), "it waits");
    fs::rename(&away, &path).expect("it is there");
    assert_eq!(waiting.await.expect("it is appended").get(), 2);
}
