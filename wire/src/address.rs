//! Which hosts and addresses a connection may be made to: a pure table, no resolver.
//!
//! A name passes here when nothing about its spelling says that it is private.
//! Whoever opens the connection still resolves it, refuses it if any address fails [`is_public`], and pins
//! the address that it checked.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

/// Networks of IPv4 that are not the public internet, as first address and prefix length.
const PRIVATE_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Answers inside a cloud's machines only, with what they are told at their start.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
];

/// The only part of IPv6 from which public unicast addresses are given out.
const UNICAST_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks inside [`UNICAST_V6`] that are not the public internet: protocol assignments (Teredo among them),
/// documentation, and 6to4, which wraps any IPv4 address.
const PRIVATE_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Top-level names that resolve inside a machine or a private network only.
const PRIVATE_SUFFIXES: &[&str] = &[
    "localhost",
    "internal",
    "local",
    "localdomain",
    "intranet",
    "lan",
    "corp",
    "home",
    "private",
    "arpa",
];

/// Whether an address belongs to the public internet. IPv4 inside IPv6 is judged as the IPv4 address when it is
/// plainly mapped, and is refused in every translating form (NAT64, 6to4, Teredo).
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => {
                in_v6(address, UNICAST_V6)
                    && !PRIVATE_V6.iter().any(|network| in_v6(address, *network))
            }
        },
    }
}

/// Whether a host, as a URL parser understood it, may be public: a public address, or a name that is not one of
/// the private ones.
#[must_use]
pub fn may_be_public(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(address) => is_public(IpAddr::V4(*address)),
        Host::Ipv6(address) => is_public(IpAddr::V6(*address)),
        Host::Domain(name) => !is_private_name(name),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !PRIVATE_V4.iter().any(|(network, prefix)| {
        u32::from(address) >> (32 - prefix) == u32::from(*network) >> (32 - prefix)
    })
}

fn in_v6(address: Ipv6Addr, (network, prefix): (Ipv6Addr, u32)) -> bool {
    u128::from(address) >> (128 - prefix) == u128::from(network) >> (128 - prefix)
}

/// A trailing dot names the same host to a resolver and another one to everything else, so it counts as private.
fn is_private_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or_default();
    last.is_empty()
        || PRIVATE_SUFFIXES
            .iter()
            .any(|suffix| last.eq_ignore_ascii_case(suffix))
}

/// `host:port` pairs that may be plain http and private: for tests and work by hand, never in production.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedHosts(BTreeSet<(String, u16)>);

/// The text is not a comma list of `host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidAllowedHosts;

impl fmt::Display for InvalidAllowedHosts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("must be a comma list of host:port")
    }
}

impl std::error::Error for InvalidAllowedHosts {}

impl AllowedHosts {
    /// Reads `host:port,host:port`; an empty text allows none. IPv6 addresses stand in brackets.
    ///
    /// # Errors
    /// [`InvalidAllowedHosts`] when an entry lacks a host or a port from 1 to 65535.
    pub fn parse(text: &str) -> Result<Self, InvalidAllowedHosts> {
        let entries = text.split(',').map(str::trim);
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        entries.map(parse_entry).collect::<Result<_, _>>().map(Self)
    }

    /// Whether nothing is allowed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this host, spelled as in a serialized URL, is allowed at this port.
    #[must_use]
    pub fn contains(&self, host: &str, port: u16) -> bool {
        self.0.contains(&(host.to_owned(), port))
    }
}

fn parse_entry(entry: &str) -> Result<(String, u16), InvalidAllowedHosts> {
    let (host, port) = entry.rsplit_once(':').ok_or(InvalidAllowedHosts)?;
    let host = Host::parse(host).map_err(|_| InvalidAllowedHosts)?;
    let port = port.parse::<u16>().map_err(|_| InvalidAllowedHosts)?;
    if port == 0 {
        return Err(InvalidAllowedHosts);
    }
    Ok((host.to_string(), port))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use url::Host;

    use super::{AllowedHosts, is_public, may_be_public};

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for (text, public) in [
            ("1.1.1.1", true),
            ("140.82.121.4", true),
            ("100.63.255.255", true),
            ("100.128.0.1", true),
            ("172.15.255.255", true),
            ("172.32.0.1", true),
            ("223.255.255.255", true),
            ("2606:4700:4700::1111", true),
            ("::ffff:1.1.1.1", true),
            ("0.0.0.0", false),
            ("10.0.0.1", false),
            ("100.64.0.1", false),
            ("100.100.100.200", false),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("169.254.169.254", false),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("192.0.0.192", false),
            ("192.0.2.1", false),
            ("192.88.99.1", false),
            ("192.168.1.1", false),
            ("198.18.0.1", false),
            ("198.19.255.255", false),
            ("198.51.100.1", false),
            ("203.0.113.1", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::7f00:1", false),
            ("::ffff:127.0.0.1", false),
            ("64:ff9b::a9fe:a9fe", false),
            ("64:ff9b:1::1", false),
            ("100::1", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("2002:7f00:1::", false),
            ("3fff::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("ff02::1", false),
        ] {
            let address: IpAddr = text.parse().expect("the row holds an address");
            assert_eq!(is_public(address), public, "{text}");
        }
    }

    #[test]
    fn private_names_are_refused_in_any_spelling() {
        for (name, expected) in [
            ("github.com", true),
            ("internal.example.com", true),
            ("localhost.example.com", true),
            ("localhost", false),
            ("LOCALHOST", false),
            ("a.localhost", false),
            ("localhost.", false),
            ("github.com.", false),
            ("metadata.google.internal", false),
            ("printer.local", false),
            ("router.home.arpa", false),
        ] {
            assert_eq!(may_be_public(&Host::Domain(name)), expected, "{name}");
        }
    }

    #[test]
    fn allowed_hosts_are_exact_pairs() {
        let hosts = AllowedHosts::parse("127.0.0.1:8811, localhost:80,[::1]:9,GIT.test:443")
            .expect("the list is valid");
        for (host, port, expected) in [
            ("127.0.0.1", 8811, true),
            ("localhost", 80, true),
            ("[::1]", 9, true),
            ("git.test", 443, true),
            ("127.0.0.1", 8812, false),
            ("127.0.0.2", 8811, false),
        ] {
            assert_eq!(hosts.contains(host, port), expected, "{host}:{port}");
        }
        assert!(AllowedHosts::parse(" ").expect("empty is none").is_empty());
        for text in [
            "localhost",
            "h:0",
            "h:65536",
            ":80",
            "h:80,,",
            "h:80:",
            "a b:80",
        ] {
            assert!(AllowedHosts::parse(text).is_err(), "{text}");
        }
    }
}
