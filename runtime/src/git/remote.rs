//! Resolves a remote's name and checks every address before git may connect.

use std::net::IpAddr;

use cloud_agent_wire::GitUrl;
use cloud_agent_wire::address::is_public;

use crate::limits::RESOLVE_TIMEOUT;

/// Most addresses that are pinned.
const ADDRESSES_MAX: usize = 8;

/// Why a remote may not or cannot be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResolveError {
    /// The name has no address, or none could be found in time.
    Unresolved,
    /// At least one address is not of the public internet.
    Private,
}

/// The addresses to pin. Empty when the URL names an address itself: that one was checked with the URL.
///
/// # Errors
/// [`ResolveError`].
pub async fn resolve(url: &GitUrl) -> Result<Vec<IpAddr>, ResolveError> {
    if url.literal_address().is_some() {
        return Ok(Vec::new());
    }
    let lookup = tokio::net::lookup_host((url.host(), url.port()));
    let addresses: Vec<IpAddr> = tokio::time::timeout(RESOLVE_TIMEOUT, lookup)
        .await
        .map_err(|_| ResolveError::Unresolved)?
        .map_err(|_| ResolveError::Unresolved)?
        .map(|address| address.ip())
        .collect();
    check(addresses, url.is_development())
}

/// One private address refuses the whole name: it would be a matter of luck which one is used.
fn check(mut addresses: Vec<IpAddr>, is_development: bool) -> Result<Vec<IpAddr>, ResolveError> {
    if addresses.is_empty() {
        return Err(ResolveError::Unresolved);
    }
    if !is_development && !addresses.iter().all(|address| is_public(*address)) {
        return Err(ResolveError::Private);
    }
    let mut seen = Vec::new();
    addresses.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(*address);
        is_new
    });
    addresses.truncate(ADDRESSES_MAX);
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::net::{IpAddr, TcpListener};
    use std::path::Path;

    use cloud_agent_wire::{AllowedHosts, GitUrl};

    use super::{ResolveError, check, resolve};
    use crate::git::plan::{self, RemoteSettings};

    #[tokio::test]
    async fn a_name_is_resolved_once_and_an_address_is_not() {
        let allowed = AllowedHosts::parse("localhost:8080,127.0.0.1:8080").expect("it is valid");
        for (url, is_name) in [
            ("http://localhost:8080/r", true),
            ("http://127.0.0.1:8080/r", false),
        ] {
            let url = GitUrl::parse(url, &allowed).expect("it is allowed");
            let addresses = resolve(&url)
                .await
                .expect("every machine knows its own name");
            assert_eq!(!addresses.is_empty(), is_name);
            assert!(addresses.iter().all(IpAddr::is_loopback));
        }
    }

    /// A name may resolve to something else by the time that git connects.
    #[test]
    fn git_connects_to_the_address_that_was_checked_and_to_no_other() {
        let now = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = now.local_addr().expect("it is bound").port();
        let checked = TcpListener::bind(("127.0.0.2", port)).expect("the port is free there too");
        let answering = std::thread::spawn(move || {
            let (mut stream, _) = checked.accept().expect("git connects");
            let reply = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            stream.write_all(reply).expect("git reads");
        });
        let hosts = AllowedHosts::parse(&format!("localhost:{port}")).expect("it is valid");
        let url = format!("http://localhost:{port}/r.git");
        let url = GitUrl::parse(&url, &hosts).expect("it is allowed");
        let settings = RemoteSettings {
            url: &url,
            addresses: &["127.0.0.2".parse().expect("an address")],
            helper: None,
            ca_file: None,
            low_speed_seconds: 5,
        };
        let arguments = plan::arguments(settings.settings(), plan::list_remote(&url));
        let output = std::process::Command::new("git")
            .args(arguments)
            .env_clear()
            .envs(plan::environment(Path::new("/nonexistent"), "http"))
            .current_dir("/")
            .output()
            .expect("git runs");
        assert!(!output.status.success());
        answering.join().expect("the checked address was asked");
        now.set_nonblocking(true).expect("it is a socket");
        let error = now
            .accept()
            .expect_err("the name's address of now was not asked");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_single_private_address_refuses_the_name() {
        let parse = |texts: &[&str]| -> Vec<IpAddr> {
            let parsed = texts.iter().map(|text| text.parse().expect("an address"));
            parsed.collect()
        };
        let public = parse(&["1.1.1.1", "1.1.1.1", "2606:4700::1"]);
        assert_eq!(
            check(public, false),
            Ok(parse(&["1.1.1.1", "2606:4700::1"]))
        );
        let mixed = parse(&["1.1.1.1", "10.0.0.1"]);
        assert_eq!(check(mixed.clone(), false), Err(ResolveError::Private));
        assert_eq!(check(mixed.clone(), true), Ok(mixed));
        assert_eq!(check(Vec::new(), true), Err(ResolveError::Unresolved));
    }
}
