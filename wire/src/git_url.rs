//! URLs that come from outside: repositories to clone and callbacks to call.
//!
//! The text is checked before a URL parser may repair it, because git, curl and browsers repair differently.
//! Only the serialized form of what was checked is ever used afterwards.

use std::fmt;

use url::{Host, Url};

use crate::address::{AllowedHosts, may_be_public};

/// Longest URL in bytes.
pub const URL_BYTES_MAX: usize = 2048;

/// Why a URL is refused. The sentence follows the name of a field and never repeats the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlError {
    /// It is empty.
    Empty,
    /// It is longer than [`URL_BYTES_MAX`].
    TooLong,
    /// It contains white space or a control character.
    Whitespace,
    /// It contains a character outside ASCII.
    NotAscii,
    /// It contains a backslash.
    Backslash,
    /// It does not start with `https://`.
    Scheme,
    /// It names a user or a password.
    UserInfo,
    /// Its host is missing, malformed, percent-encoded, or has other characters than names in use have.
    Host,
    /// It has a query.
    Query,
    /// It has a fragment.
    Fragment,
    /// Its path is empty, or encodes a control character.
    Path,
    /// Its port is not 443.
    Port,
    /// Its host is an address or a name that is not public.
    PrivateAddress,
}

impl UrlError {
    /// The sentence without its subject.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Empty => "must not be empty",
            Self::TooLong => "must not be longer than 2048 characters",
            Self::Whitespace => "must not contain white space or control characters",
            Self::NotAscii => "must contain ASCII characters only",
            Self::Backslash => "must not contain a backslash",
            Self::Scheme => "must start with https://",
            Self::UserInfo => "must not contain a user name or password",
            Self::Host => "must name a valid host",
            Self::Query => "must not have a query",
            Self::Fragment => "must not have a fragment",
            Self::Path => "must have a path without control characters",
            Self::Port => "must use port 443",
            Self::PrivateAddress => "must name a public host",
        }
    }
}

impl fmt::Display for UrlError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message())
    }
}

impl std::error::Error for UrlError {}

/// The URL of a git repository: https, no userinfo, no query, no fragment, a host that may be public.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    url: Url,
    is_development: bool,
}

impl GitUrl {
    /// Checks and normalizes a URL. An entry of `allowed` may be http, private and on any port.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str, allowed: &AllowedHosts) -> Result<Self, UrlError> {
        let (url, is_development) = parse_checked(text, allowed, Query::Refused)?;
        if url.path() == "/" {
            return Err(UrlError::Path);
        }
        Ok(Self {
            url,
            is_development,
        })
    }

    /// The URL as it may be given to git.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// `https`, or `http` for an allowed development host.
    #[must_use]
    pub fn scheme(&self) -> &str {
        self.url.scheme()
    }

    /// The host as it stands in the URL; an IPv6 address in brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The host's address when the URL names an address instead of a name.
    #[must_use]
    pub fn literal_address(&self) -> Option<std::net::IpAddr> {
        match self.url.host()? {
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
            Host::Domain(_) => None,
        }
    }

    /// The port, also when it is the scheme's own.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or_default()
    }

    /// `host`, or `host:port` where the port is not the scheme's own: what git asks credential helpers about.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.url.authority()
    }

    /// `scheme://host[:port]`, the scope of a credential.
    #[must_use]
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }

    /// The path, starting with a slash.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.path()
    }

    /// Whether an entry of the allowed hosts let it pass; its address is then not checked.
    #[must_use]
    pub const fn is_development(&self) -> bool {
        self.is_development
    }
}

impl fmt::Display for GitUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The URL of a callback: as [`GitUrl`], but it may have a query and needs no path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackUrl(Url);

impl CallbackUrl {
    /// Checks and normalizes a URL. An entry of `allowed` may be http, private and on any port.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str, allowed: &AllowedHosts) -> Result<Self, UrlError> {
        parse_checked(text, allowed, Query::Allowed).map(|(url, _)| Self(url))
    }

    /// The URL as it may be called. Its query may be meant for the callee only: do not log it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Query {
    Allowed,
    Refused,
}

fn parse_checked(
    text: &str,
    allowed: &AllowedHosts,
    query: Query,
) -> Result<(Url, bool), UrlError> {
    check_characters(text)?;
    let rest = strip_scheme(text)?;
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(authority_end);
    check_authority(authority)?;
    if tail.contains('#') {
        return Err(UrlError::Fragment);
    }
    if query == Query::Refused && tail.contains('?') {
        return Err(UrlError::Query);
    }
    if encodes_control(tail) {
        return Err(UrlError::Path);
    }
    let url = Url::parse(text).map_err(|error| match error {
        url::ParseError::InvalidPort => UrlError::Port,
        _ => UrlError::Host,
    })?;
    let is_development = check_host(&url, allowed)?;
    Ok((url, is_development))
}

fn check_characters(text: &str) -> Result<(), UrlError> {
    if text.is_empty() {
        return Err(UrlError::Empty);
    }
    if text.len() > URL_BYTES_MAX {
        return Err(UrlError::TooLong);
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(UrlError::Whitespace);
    }
    if !text.is_ascii() {
        return Err(UrlError::NotAscii);
    }
    if text.contains('\\') {
        return Err(UrlError::Backslash);
    }
    Ok(())
}

/// Without the scheme and its `//`: parsers fold any number of slashes there, so exactly two are demanded.
fn strip_scheme(text: &str) -> Result<&str, UrlError> {
    let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return Err(UrlError::Scheme);
    }
    Ok(rest)
}

fn check_authority(authority: &str) -> Result<(), UrlError> {
    if authority.contains('@') {
        return Err(UrlError::UserInfo);
    }
    if authority.is_empty() || authority.contains('%') {
        return Err(UrlError::Host);
    }
    Ok(())
}

/// Whether a percent-encoded byte is a control character; git decodes it before it asks a credential helper.
fn encodes_control(text: &str) -> bool {
    text.split('%').skip(1).any(|escape| {
        let mut digits = escape.bytes().map(|byte| char::from(byte).to_digit(16));
        match (digits.next().flatten(), digits.next().flatten()) {
            (Some(high), Some(low)) => {
                let byte = high * 16 + low;
                byte < 0x20 || byte == 0x7f
            }
            _ => false,
        }
    })
}

/// Whether an allowed development host let it pass.
fn check_host(url: &Url, allowed: &AllowedHosts) -> Result<bool, UrlError> {
    let host = url.host().ok_or(UrlError::Host)?;
    // Parsers let more through. A host becomes part of the names of git's settings, where `=` ends the name.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if let Host::Domain(name) = host
        && !name.bytes().all(is_plain)
    {
        return Err(UrlError::Host);
    }
    let port = url.port_or_known_default().ok_or(UrlError::Port)?;
    if allowed.contains(&host.to_string(), port) {
        return Ok(true);
    }
    if url.scheme() != "https" {
        return Err(UrlError::Scheme);
    }
    if !may_be_public(&host) {
        return Err(UrlError::PrivateAddress);
    }
    if port != 443 {
        return Err(UrlError::Port);
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::{AllowedHosts, CallbackUrl, GitUrl, UrlError};

    fn parse(text: &str) -> Result<GitUrl, UrlError> {
        GitUrl::parse(text, &AllowedHosts::default())
    }

    #[test]
    fn refused_repository_urls_name_the_rule_they_break() {
        for (text, expected) in [
            ("http://h/r.git", UrlError::Scheme),
            ("ssh://h/r", UrlError::Scheme),
            ("git@h:r", UrlError::Scheme),
            ("git://h/r", UrlError::Scheme),
            ("file:///etc", UrlError::Scheme),
            ("/etc", UrlError::Scheme),
            ("ext::sh", UrlError::Scheme),
            ("ext::sh -c id", UrlError::Whitespace),
            ("--upload-pack=touch /tmp/p", UrlError::Whitespace),
            ("--upload-pack=id", UrlError::Scheme),
            ("https://u:p@h/r", UrlError::UserInfo),
            ("https://T@h/r", UrlError::UserInfo),
            ("https://@h/r", UrlError::UserInfo),
            (r"https://good\@evil/r", UrlError::Backslash),
            ("https:///evil/r", UrlError::Host),
            ("https://x.helper=!id;y.example/r", UrlError::Host),
            ("https://a$b.example/r", UrlError::Host),
            ("https://a*b.example/r", UrlError::Host),
            ("https://a'b.example/r", UrlError::Host),
            ("https:evil/r", UrlError::Scheme),
            (" https://h/r", UrlError::Whitespace),
            ("https://h/\tr", UrlError::Whitespace),
            ("https://h/\nr", UrlError::Whitespace),
            ("https://h/r.git%0ahost=evil", UrlError::Path),
            ("https://h/r%0D", UrlError::Path),
            ("https://h/r%00", UrlError::Path),
            ("https://h/r?x=1", UrlError::Query),
            ("https://h?x=1", UrlError::Query),
            ("https://h/r#f", UrlError::Fragment),
            ("https://h:22/r", UrlError::Port),
            ("https://h:0/r", UrlError::Port),
            ("https://h:99999/r", UrlError::Port),
            ("https://h", UrlError::Path),
            ("https://h/", UrlError::Path),
            ("", UrlError::Empty),
            ("https://①②⑦.0.0.1/r", UrlError::NotAscii),
            ("https://%31%32%37.0.0.1/r", UrlError::Host),
        ] {
            assert_eq!(parse(text), Err(expected), "{text}");
        }
        let long = format!("https://h/{}", "a".repeat(65536));
        assert_eq!(parse(&long), Err(UrlError::TooLong));
    }

    #[test]
    fn private_hosts_are_refused_in_every_spelling_for_repositories_and_callbacks() {
        for host in [
            "127.1",
            "0x7f.0.0.1",
            "2130706433",
            "017700000001",
            "0",
            "0.0.0.0",
            "[::1]",
            "[::ffff:7f00:1]",
            "169.254.169.254",
            "metadata.google.internal",
            "[fd00:ec2::254]",
            "100.100.100.200",
            "[64:ff9b::a9fe:a9fe]",
            "[2002:7f00:1::]",
            "192.0.0.192",
            "LOCALHOST",
            "a.localhost",
            "localhost.",
        ] {
            let text = format!("https://{host}/r.git");
            assert_eq!(parse(&text), Err(UrlError::PrivateAddress), "{text}");
            let callback = CallbackUrl::parse(&text, &AllowedHosts::default());
            assert_eq!(callback, Err(UrlError::PrivateAddress), "{text}");
        }
    }

    #[test]
    fn an_accepted_url_is_normalized() {
        for (text, normalized) in [
            ("HTTPS://Host/r.git", "https://host/r.git"),
            ("https://host:443/a/../r.git", "https://host/r.git"),
            ("https://host/a/%2e%2e/%41@b", "https://host/%41@b"),
        ] {
            let url = parse(text).expect("the row is valid");
            assert_eq!(url.as_str(), normalized);
            assert_eq!(url.origin(), "https://host");
            assert_eq!((url.authority(), url.port()), ("host", 443));
            assert!(!url.is_development());
        }
    }

    #[test]
    fn hosts_in_punycode_pass_as_they_are() {
        let url = parse("https://git.XN--bcher-kva.example/r.git").expect("it is a host");
        assert_eq!(url.origin(), "https://git.xn--bcher-kva.example");
    }

    #[test]
    fn an_allowed_host_may_be_plain_and_private_at_its_port_only() {
        let allowed = AllowedHosts::parse("127.0.0.1:8811").expect("the list is valid");
        let url = GitUrl::parse("http://127.1:8811/r.git", &allowed).expect("it is allowed");
        assert_eq!(url.as_str(), "http://127.0.0.1:8811/r.git");
        assert_eq!(url.origin(), "http://127.0.0.1:8811");
        assert!(url.is_development());
        assert!(url.literal_address().is_some());
        for text in ["http://127.0.0.1:8812/r.git", "http://127.0.0.1/r.git"] {
            assert_eq!(GitUrl::parse(text, &allowed), Err(UrlError::Scheme));
        }
        assert_eq!(
            GitUrl::parse(r"http://127.0.0.1:8812\@127.0.0.1:8811/r", &allowed),
            Err(UrlError::Backslash)
        );
    }

    #[test]
    fn callbacks_may_have_a_query() {
        let allowed = AllowedHosts::default();
        let url = CallbackUrl::parse("https://hooks.example/done?key=1", &allowed)
            .expect("a query is allowed");
        assert_eq!(url.as_str(), "https://hooks.example/done?key=1");
        for (text, expected) in [
            ("http://hooks.example/", UrlError::Scheme),
            ("https://hooks.example/#x", UrlError::Fragment),
            ("https://u@hooks.example/", UrlError::UserInfo),
            ("https://hooks.example:8443/", UrlError::Port),
        ] {
            assert_eq!(CallbackUrl::parse(text, &allowed), Err(expected), "{text}");
        }
    }
}
