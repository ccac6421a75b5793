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
    use std::net::IpAddr;

    use cloud_agent_wire::{AllowedHosts, GitUrl};

    use super::{ResolveError, check, resolve};

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
