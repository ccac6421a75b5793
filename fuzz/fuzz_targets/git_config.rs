//! A configuration that the agent wrote: after a rotation the old token is gone, `origin` is ours, a second rotation
//! changes nothing, and what was not meant stays.
#![no_main]

use cloud_agent_wire::{AllowedHosts, GitUrl};
use libfuzzer_sys::fuzz_target;
use workspace_runtime::untrusted::{config_entries, rotated_config};

const OLD: &str = "old/token+1";
const NEW: &str = "new@token#2";

fuzz_target!(|text: &str| {
    let Some(before) = config_entries(text) else {
        return;
    };
    let url = GitUrl::parse("https://git.example/a/r.git", &AllowedHosts::default())
        .expect("the URL is valid");
    for is_in_url in [false, true] {
        let rotated = rotated_config(text, &url, NEW, is_in_url, &[OLD])
            .expect("what can be read can be rewritten");
        let after = config_entries(&rotated).expect("what was written can be read");
        let holds = |text: &str, token: &str| {
            let encoded = token.replace('/', "%2F").replace('+', "%2B");
            text.contains(token) || text.contains(&encoded)
        };
        // Comments are not configuration, and git reads no token from them.
        for [_, subsection, _, value] in &after {
            assert!(!holds(subsection, OLD) && !holds(value, OLD));
        }
        let is_origin = |entry: &&[String; 4]| {
            entry[0] == "remote" && entry[1] == "origin" && entry[2] == "url"
        };
        let origins: Vec<_> = after
            .iter()
            .filter(is_origin)
            .map(|entry| &entry[3])
            .collect();
        let expected = if is_in_url {
            "https://x-access-token:new%40token%232@git.example/a/r.git"
        } else {
            url.as_str()
        };
        assert_eq!(origins, [expected]);
        assert!(
            !after
                .iter()
                .any(|entry| entry[1] == "origin" && entry[2] == "pushurl" && entry[0] == "remote")
        );
        let again = rotated_config(&rotated, &url, NEW, is_in_url, &[OLD]);
        assert_eq!(
            again.as_deref(),
            Some(&*rotated),
            "a repeat changes nothing"
        );
        let core = |entries: &[[String; 4]]| -> Vec<[String; 4]> {
            let of_core = |entry: &&[String; 4]| entry[0] == "core" && entry[1].is_empty();
            entries.iter().filter(of_core).cloned().collect()
        };
        let is_old = |entry: &[String; 4]| holds(&entry[1], OLD) || holds(&entry[3], OLD);
        if !holds(text, OLD)
            && !before.iter().any(is_old)
            && !text.contains('%')
            && !text.contains("https://")
        {
            assert_eq!(core(&before), core(&after));
        }
    }
});
