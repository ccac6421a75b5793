//! Which pages may connect.

/// The origins that `WS_ALLOWED_ORIGINS` lists, separated by commas. An empty list allows every origin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<String>);

impl AllowedOrigins {
    /// Reads the setting. Entries are origins as browsers send them: scheme, host and port, no path.
    ///
    /// # Errors
    /// What is wrong with an entry.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        text.split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| {
                let url = url::Url::parse(entry).ok();
                url.map(|url| url.origin())
                    .filter(|origin| origin.is_tuple() && !entry.contains('*'))
                    .map(|origin| origin.ascii_serialization())
                    .filter(|origin| origin.eq_ignore_ascii_case(entry.trim_end_matches('/')))
                    .ok_or("must be a list of origins such as https://app.example, separated by commas")
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether a socket may be opened. Programs that are no browsers send no origin.
    #[must_use]
    pub fn allows(&self, origin: Option<&str>) -> bool {
        match origin {
            None | Some("null") => true,
            Some(origin) => self.0.is_empty() || self.lists(origin),
        }
    }

    /// Whether the origin is on the list: pages of such an origin may ask for tickets themselves.
    #[must_use]
    pub fn lists(&self, origin: &str) -> bool {
        self.0
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::AllowedOrigins;

    #[test]
    fn an_empty_list_allows_all_and_a_list_only_its_own_and_those_without_an_origin() {
        let none = AllowedOrigins::parse("").unwrap();
        let some = AllowedOrigins::parse("https://app.example, http://localhost:3000/").unwrap();
        for (origin, by_none, by_some) in [
            (None, true, true),
            (Some("null"), true, true),
            (Some("https://app.example"), true, true),
            (Some("http://localhost:3000"), true, true),
            (Some("http://localhost:3001"), true, false),
            (Some("https://app.example.evil"), true, false),
            (Some("http://app.example"), true, false),
            (Some(""), true, false),
        ] {
            assert_eq!(none.allows(origin), by_none, "{origin:?}");
            assert_eq!(some.allows(origin), by_some, "{origin:?}");
        }
        assert!(!none.lists("https://app.example"));
        assert!(some.lists("https://app.example"));
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "*",
            "app.example",
            "https://app.example/path",
            "https://*.example",
            "data:x",
        ] {
            assert!(AllowedOrigins::parse(text).is_err(), "{text}");
        }
    }
}
