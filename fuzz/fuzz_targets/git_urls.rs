//! A URL that passes is one that every parser reads the same way: normalized, public, and free of what git decodes.
#![no_main]

use cloud_agent_wire::branch_name;
use cloud_agent_wire::git_url::CallbackUrl;
use cloud_agent_wire::{AllowedHosts, GitUrl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let hosts = AllowedHosts::default();
    if let Ok(url) = GitUrl::parse(text, &hosts) {
        let normal = url.as_str();
        assert!(normal.starts_with("https://"));
        assert!(
            normal
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        );
        assert!(!normal.contains(['?', '#']));
        assert!(!url.authority().contains(['@', '%']));
        assert_eq!(url.port(), 443);
        assert!(url.path().len() > 1 && url.path().starts_with('/'));
        assert_eq!(normal, format!("{}{}", url.origin(), url.path()));
        let again = GitUrl::parse(normal, &hosts).expect("a normalized URL passes again");
        assert_eq!(again.as_str(), normal);
        assert!(CallbackUrl::parse(text, &hosts).is_ok());
        if let Some(address) = url.literal_address() {
            assert!(cloud_agent_wire::address::is_public(address));
        }
    }
    if let Ok(url) = CallbackUrl::parse(text, &hosts) {
        let again = CallbackUrl::parse(url.as_str(), &hosts).expect("it passes again");
        assert_eq!(again.as_str(), url.as_str());
    }
    if branch_name::classify(text).is_some() {
        assert!(!text.starts_with('-') && !text.contains("..") && text.len() <= 255);
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte))
        );
    }
    let _ = AllowedHosts::parse(text);
});
