//! The life of a turn in a folder of its own: started once, told once, tried, stopped, refused.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use cloud_agent_session::direct::answer::{self, Refusal};
use cloud_agent_session::direct::command::{Place, name_store};
use cloud_agent_session::direct::{events, turn};
use cloud_agent_wire::redact::Redactor;
use cloud_agent_wire::{
    AllowedHosts, EventSequence, Generation, JournalEvent, MessageId, PutTurn, PutWorkspace,
    RuntimeErrorCode, RuntimeEvent, Secret, SessionId, StoreId, Submission, Timestamp, TurnState,
};
use serde_json::json;

use crate::run;

/// A folder whose name needs quoting, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has random bytes");
        let name = format!("it's $(a) folder {}", u64::from_be_bytes(bytes));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("the folder is new");
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the name is text")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A session in a sandbox.
struct Sandbox {
    folder: Folder,
    session_id: SessionId,
    store_id: StoreId,
}

impl Sandbox {
    fn new() -> Self {
        let folder = Folder::new();
        let store_id = store_of(folder.path(), "first");
        let session_id = "agent_01234567-89ab-4cde-8f01-23456789abcd".parse();
        Self {
            folder,
            session_id: session_id.expect("the id is canonical"),
            store_id,
        }
    }

    fn place(&self) -> Place<'_> {
        Place {
            root: self.folder.path(),
            session_id: &self.session_id,
        }
    }

    fn state(&self) -> PathBuf {
        Path::new(self.folder.path()).join(format!("{}/state", self.session_id))
    }

    /// Brings the program of a turn whose clone fails at once: nothing listens where the repository is to be.
    fn bring(&self, submission: u64) {
        let place = self.place();
        let (workspace, turn) = request(submission);
        let driver = turn::driver(place, &workspace, &turn, None, &hosts()).expect("it fits");
        let content = driver.expose().as_bytes();
        let commands = place.upload(&self.store_id, "state/incoming", content);
        for command in commands.expect("it fits") {
            assert_eq!(answer::done(&told(&command)), Ok(()));
        }
    }

    fn start(&self, submission: u64, generation: u64) -> Secret {
        let numbers = (Submission::new(submission), Generation::new(generation));
        let url = Secret::new("http://x-access-token:t@127.0.0.1:9/r.git".to_owned());
        let command = self
            .place()
            .start(&self.store_id, &message(), numbers, &url);
        command.expect("it fits")
    }

    /// The files of a turn that goes on, as far as this process does: PID and when it started.
    fn run_of(&self, driver: &str) -> PathBuf {
        let turn = format!("{}/1", message());
        let run = self.state().join("turns").join(&turn);
        fs::create_dir_all(&run).unwrap();
        fs::create_dir_all(self.state().join("empty")).unwrap();
        for (file, text) in [
            ("driver", driver),
            ("position", "0"),
            ("records", ""),
            ("output", ""),
        ] {
            fs::write(run.join(file), text).unwrap();
        }
        fs::write(self.state().join("current"), turn).unwrap();
        run
    }

    fn push(&self, generation: u64, remote: SocketAddr) {
        let place = self.place();
        let generation = Generation::new(generation);
        let url = format!("http://{remote}/r.git");
        let hosts = AllowedHosts::parse(&remote.to_string()).expect("the list is valid");
        let trial = turn::trial(place, &url, generation, &hosts).expect("it fits");
        let content = trial.expose().as_bytes();
        let mut commands = place
            .upload(&self.store_id, "state/trial.new", content)
            .expect("it fits");
        let url = Secret::new(url.replace("://", "://x-access-token:t@"));
        commands.push(
            place
                .push(&self.store_id, generation, &url)
                .expect("it fits"),
        );
        for command in commands {
            assert_eq!(answer::done(&told(&command)), Ok(()));
        }
    }

    fn events(&self, after: u64) -> Vec<JournalEvent> {
        let after = EventSequence::new(after);
        let command = self.place().read_events(&self.store_id, after);
        let answer = told(&command.expect("it fits"));
        let redactor = Redactor::new([], []);
        events::read(&answer, &redactor, Timestamp::from_millis(1)).expect("it makes sense")
    }

    /// The event that ends a turn.
    fn end(&self) -> RuntimeEvent {
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            let last = self.events(0).pop().map(|event| event.event);
            match last {
                Some(event @ (RuntimeEvent::Error { .. } | RuntimeEvent::Interrupted { .. })) => {
                    return event;
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        panic!("the turn does not end");
    }
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it never happens"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn hosts() -> AllowedHosts {
    AllowedHosts::parse("127.0.0.1:9").expect("the list is valid")
}

fn message() -> MessageId {
    "msg_0123456789abABCDEFGHIJKLMN".parse().expect("canonical")
}

fn request(submission: u64) -> (PutWorkspace, PutTurn) {
    let workspace = json!({
        "repository": { "url": "http://127.0.0.1:9/r.git" },
        "branch": { "name": "main", "strict": false },
        "generation": 1,
    });
    let turn = json!({
        "submission": submission,
        "generation": 1,
        "intent": {
            "turn": { "type": "prompt", "messageId": message(), "prompt": "it's\nme" },
            "agent": { "mode": "code", "model": "m" },
            "finalization": {},
        },
    });
    (
        serde_json::from_value(workspace).expect("it is a workspace"),
        serde_json::from_value(turn).expect("it is a turn"),
    )
}

fn told(command: &Secret) -> String {
    let output = run("/bin/sh", command.expose());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).expect("answers are text")
}

fn store_of(root: &str, fresh: &str) -> StoreId {
    let fresh = fresh.parse().expect("the id is valid");
    let command = name_store(root, &fresh).expect("it fits");
    answer::store(&told(&command)).expect("it makes sense")
}

#[test]
fn a_disk_has_one_name_whoever_asks_first() {
    let folder = Folder::new();
    let path = folder.path();
    let names: Vec<StoreId> = std::thread::scope(|scope| {
        let ask = |number| scope.spawn(move || store_of(path, &format!("name-{number}")));
        let asking: Vec<_> = (0..8).map(ask).collect();
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
}

#[test]
fn a_submission_is_started_once_however_often_it_is_asked_for() {
    let sandbox = Sandbox::new();
    sandbox.bring(1);
    let start = sandbox.start(1, 1);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| told(&start))).collect();
        asking
            .into_iter()
            .map(|asked| asked.join().unwrap())
            .collect()
    });
    for answer in &answers {
        let turn = answer::turn(answer);
        let is_the_one = turn.is_ok_and(|turn| turn.submission == Submission::new(1));
        assert!(
            is_the_one || turn == Err(Refusal::Refused(RuntimeErrorCode::NotReady)),
            "{answer}"
        );
    }
    let RuntimeEvent::Error { failure, .. } = sandbox.end() else {
        panic!("nothing listens there");
    };
    assert_eq!(failure.subtype.unwrap().as_str(), "git_network_failed");
    let records = fs::read_to_string(
        sandbox
            .state()
            .join(format!("turns/{}/1/records", message())),
    );
    assert_eq!(records.unwrap().matches("preparing clone").count(), 1);
    // Afterwards too, and the credential that it was given lies nowhere.
    assert_eq!(
        answer::turn(&told(&start)).unwrap().state,
        TurnState::Failed
    );
    assert!(
        !sandbox
            .state()
            .join(format!("turns/{}/1/candidate", message()))
            .exists()
    );
    // A look tells the credential that is in force, which output is searched for.
    let in_force = "1 http://x-access-token:in%2Dforce@127.0.0.1:9/r.git\n";
    fs::write(sandbox.state().join("credential"), in_force).unwrap();
    let look = sandbox
        .place()
        .read_events(&sandbox.store_id, EventSequence::new(0));
    let told_by_look = told(&look.unwrap());
    let tokens = events::credentials(&told_by_look).map(|credential| credential.token);
    let tokens: Vec<_> = tokens.map(|token| token.expose().to_owned()).collect();
    assert_eq!(tokens, ["in-force"]);
    // A newer submission is another try, and its events come behind those of the first one.
    let seen = sandbox.events(0).last().unwrap().seq;
    sandbox.bring(2);
    assert_eq!(
        answer::turn(&told(&sandbox.start(2, 1)))
            .unwrap()
            .submission,
        Submission::new(2)
    );
    sandbox.end();
    let again = sandbox.events(seen.get());
    assert!(again.len() > 1 && again.iter().all(|event| event.seq > seen));
}

#[test]
fn a_start_that_was_killed_midway_is_done_again_and_leaves_nothing() {
    let sandbox = Sandbox::new();
    let turns = sandbox.state().join(format!("turns/{}", message()));
    for submission in ["1", "2"] {
        fs::create_dir_all(turns.join(submission)).unwrap();
        fs::write(turns.join(submission).join("candidate"), "a token").unwrap();
    }
    sandbox.bring(2);
    told(&sandbox.start(2, 1));
    sandbox.end();
    assert!(!turns.join("1").exists() && !turns.join("2/candidate").exists());
    // Nor does a repeat leave the program that was brought for it.
    sandbox.bring(2);
    told(&sandbox.start(2, 1));
    assert!(!sandbox.state().join("incoming").exists());
}

#[test]
fn pieces_of_two_tries_make_one_whole_file_or_none() {
    let sandbox = Sandbox::new();
    let content = |byte: u8| vec![byte; 150_000];
    let pieces = |byte| {
        let place = sandbox.place();
        let pieces = place.upload(&sandbox.store_id, "state/incoming", &content(byte));
        pieces.expect("it fits")
    };
    let (older, newer) = (pieces(b'a'), pieces(b'b'));
    assert_eq!(newer.len(), 3);
    let bring = |piece| answer::done(&told(piece));
    let incoming = || fs::read(sandbox.state().join("incoming")).ok();
    let unavailable = Err(Refusal::Refused(RuntimeErrorCode::Unavailable));
    assert_eq!([bring(&older[0]), bring(&newer[0])], [Ok(()), Ok(())]);
    // Late pieces of the older try come between those of the newer one, and one comes twice.
    assert_eq!(bring(&older[1]), Ok(()));
    assert_eq!(bring(&newer[1]), Ok(()));
    assert_eq!(bring(&newer[1]), unavailable);
    assert_eq!(incoming(), None);
    assert_eq!(bring(&newer[2]), Ok(()));
    assert!(incoming() == Some(content(b'b')));
    // A repeat begins anew.
    fs::remove_file(sandbox.state().join("incoming")).unwrap();
    bring(&newer[0]).unwrap();
    assert_eq!(bring(&newer[2]), unavailable);
    assert!(newer.iter().all(|piece| bring(piece).is_ok()));
    assert!(incoming() == Some(content(b'b')));
}

#[test]
fn what_has_left_its_environment_is_known_by_where_it_works() {
    let sandbox = Sandbox::new();
    let repo = sandbox.state().with_file_name("repo");
    fs::create_dir_all(&repo).unwrap();
    let mut stray = Command::new("/bin/sleep");
    let mut stray = stray
        .arg("60")
        .current_dir(&repo)
        .env_clear()
        .spawn()
        .unwrap();
    let delete = sandbox.place().delete(&sandbox.store_id).unwrap();
    assert_eq!(answer::done(&told(&delete)), Ok(()));
    wait_until(|| stray.try_wait().unwrap().is_some());
}

#[test]
fn a_driver_that_is_gone_is_told_once_and_its_files_are_removed() {
    let sandbox = Sandbox::new();
    let run = sandbox.run_of("1 1");
    for file in ["script", "input"] {
        fs::write(run.join(file), "a secret").unwrap();
    }
    let events = sandbox.events(0);
    assert!(matches!(
        events.as_slice(),
        [JournalEvent {
            event: RuntimeEvent::Error { .. },
            ..
        }]
    ));
    assert!(sandbox.events(events[0].seq.get()).is_empty());
    assert!(!run.join("script").exists() && !run.join("input").exists());
}

#[test]
fn a_newer_credential_leaves_the_trial_of_an_older_one_a_moment() {
    let sandbox = Sandbox::new();
    // Takes connections and says nothing.
    let remote = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = remote.local_addr().unwrap();
    // The driver that is waited for is this test.
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let since = stat.rsplit(") ").next().unwrap().split(' ').nth(19);
    let driver = format!("{} {}", std::process::id(), since.unwrap());
    let run = sandbox.run_of(&driver);
    sandbox.push(2, address);
    let trial = sandbox.state().join("trial");
    let told_by = |older: &str| {
        let read = || fs::read_to_string(&trial).unwrap_or_default();
        wait_until(|| read().ends_with('\n') && read() != older);
        read()
    };
    let older = told_by("");
    let is_alive = |named: &str| {
        let pid = named.split(' ').next().unwrap();
        Path::new("/proc").join(pid).join("cwd").exists()
    };
    sandbox.push(3, address);
    sandbox.push(4, address);
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_alive(&older), "it has a moment left");
    let newer = told_by(&older);
    wait_until(|| !is_alive(&older));
    // A remote that is away is asked again, until the turn has ended.
    drop(remote);
    std::thread::sleep(Duration::from_secs(1));
    assert!(is_alive(&newer));
    fs::write(run.join("ended"), "completed\n").unwrap();
    wait_until(|| !trial.exists() && !is_alive(&newer));
}

#[test]
fn a_turn_that_was_interrupted_before_it_came_ends_at_once() {
    let sandbox = Sandbox::new();
    let interrupt = sandbox.place().interrupt(&sandbox.store_id, &message());
    assert_eq!(answer::done(&told(&interrupt.unwrap())), Ok(()));
    sandbox.bring(1);
    told(&sandbox.start(1, 1));
    assert!(matches!(sandbox.end(), RuntimeEvent::Interrupted { .. }));
}

#[test]
fn what_cannot_be_done_is_refused_as_a_runtime_refuses_it() {
    let sandbox = Sandbox::new();
    let place = sandbox.place();
    let refused = |command: &Secret| answer::done(&told(command)).err();
    let code = |code| Some(Refusal::Refused(code));
    let other: StoreId = "other".parse().unwrap();
    let interrupt = |store_id| place.interrupt(store_id, &message()).unwrap();
    assert_eq!(
        refused(&interrupt(&other)),
        code(RuntimeErrorCode::StoreChanged)
    );
    let events = place.read_events(&sandbox.store_id, EventSequence::new(0));
    assert_eq!(refused(&events.unwrap()), code(RuntimeErrorCode::NotFound));
    sandbox.bring(1);
    told(&sandbox.start(1, 3));
    sandbox.end();
    assert_eq!(
        refused(&sandbox.start(2, 2)),
        code(RuntimeErrorCode::StaleGeneration)
    );
    let delete = place.delete(&sandbox.store_id).unwrap();
    assert_eq!(refused(&delete), None);
    assert!(!sandbox.state().exists());
    assert_eq!(
        refused(&interrupt(&sandbox.store_id)),
        code(RuntimeErrorCode::Gone)
    );
    // A repeat of the deletion is answered the same.
    assert_eq!(refused(&delete), None);
}
