//! Which branch names are accepted.

use std::path::Path;

/// Longest branch name in bytes.
pub const BRANCH_BYTES_MAX: usize = 255;

/// What a branch name is, which decides how it is checked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchKind {
    /// A branch under `refs/heads`.
    Branch,
    /// `refs/pull/N/head` or `refs/merge-requests/N/head`: a ref that is fetched by its full name.
    PullRequest,
}

/// The sentence that an invalid name is answered with, without its subject.
pub const EXPECTED: &str = "must be a branch name of at most 255 letters, digits, dots, dashes, underscores and slashes, or refs/pull/N/head or refs/merge-requests/N/head";

/// Judges a name. `None` means that it is refused: it could be taken for an option or for another kind of ref,
/// or git would not have it.
#[must_use]
pub fn classify(name: &str) -> Option<BranchKind> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if name.is_empty() || name.len() > BRANCH_BYTES_MAX || !name.bytes().all(is_plain) {
        return None;
    }
    if is_pull_request(name) {
        return Some(BranchKind::PullRequest);
    }
    let is_component = |component: &str| {
        !component.is_empty()
            && !component.starts_with('.')
            && !component.ends_with('.')
            && !is_lock(component)
    };
    let is_branch = !name.starts_with('-')
        && !name.starts_with("refs/")
        && !name.contains("..")
        && !name.eq_ignore_ascii_case("HEAD")
        && name.split('/').all(is_component);
    is_branch.then_some(BranchKind::Branch)
}

/// Git refuses names that could meet its own lock files, on a file system that ignores case in any case.
fn is_lock(component: &str) -> bool {
    Path::new(component)
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("lock"))
}

fn is_pull_request(name: &str) -> bool {
    ["refs/pull/", "refs/merge-requests/"].iter().any(|prefix| {
        name.strip_prefix(prefix)
            .and_then(|rest| rest.strip_suffix("/head"))
            .is_some_and(|number| {
                !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
            })
    })
}

#[cfg(test)]
mod tests {
    use super::{BranchKind, classify};

    #[test]
    fn names_are_branches_pull_requests_or_refused() {
        let branch = Some(BranchKind::Branch);
        let pull_request = Some(BranchKind::PullRequest);
        let long = "a".repeat(300);
        for (name, expected) in [
            ("main", branch),
            ("feature/a-b_c.d", branch),
            ("session/agent_0f8fad5b-d9cb-469f-a165-70867728950e", branch),
            ("a-b", branch),
            ("refs/pull/12/head", pull_request),
            ("refs/merge-requests/3/head", pull_request),
            ("refs/pull/x/head", None),
            ("refs/pull//head", None),
            ("--upload-pack=x", None),
            ("-c", None),
            ("-b", None),
            ("a..b", None),
            ("@{-1}", None),
            ("@", None),
            ("HEAD", None),
            ("refs/heads/x", None),
            ("$(touch /tmp/p)", None),
            ("`id`", None),
            ("a;id", None),
            ("main\u{3000}x", None),
            ("a\nb", None),
            ("a\0b", None),
            ("a.lock", None),
            ("a.lock/b", None),
            ("/a", None),
            ("a/", None),
            ("a//b", None),
            (".a", None),
            ("a/.b", None),
            ("a.", None),
            ("", None),
            (long.as_str(), None),
        ] {
            assert_eq!(classify(name), expected, "{name:?}");
        }
    }
}
