//! Which git is installed, and whether it has the security fixes that hostile repositories make necessary.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A version of git.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u32, u32, u32);

/// The releases in which a submodule's path can no longer run a hook (CVE-2025-48384). A later release line than
/// the last one here has the fix from its start.
const FIXED: &[Version] = &[
    Version(2, 43, 7),
    Version(2, 44, 4),
    Version(2, 45, 4),
    Version(2, 46, 4),
    Version(2, 47, 3),
    Version(2, 48, 2),
    Version(2, 49, 1),
    Version(2, 50, 1),
];

/// The release that can be told to which addresses a name leads. One before it does not know the setting, says
/// nothing, and connects to whatever the name resolves to by then.
const PINS: Version = Version(2, 37, 0);

impl Version {
    /// Reads the output of `git --version`.
    pub fn parse(output: &str) -> Option<Self> {
        let text = output.trim().strip_prefix("git version ")?;
        let mut numbers = text.split(['.', ' ', '-']).map(|part| part.parse().ok());
        let (major, minor) = (numbers.next()??, numbers.next()??);
        Some(Self(major, minor, numbers.next().flatten().unwrap_or(0)))
    }

    /// Whether this git connects to the addresses that were checked, and to no others.
    pub fn pins_addresses(self) -> bool {
        self >= PINS
    }

    /// Whether the release itself has the fixes. Distributions also patch older ones, which their version hides.
    pub fn is_fixed(self) -> bool {
        let newest = FIXED.last().copied().unwrap_or(self);
        let same_line = |fixed: &&Version| (fixed.0, fixed.1) == (self.0, self.1);
        match FIXED.iter().find(same_line) {
            Some(fixed) => self >= *fixed,
            None => self > newest,
        }
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// Finds the git program in the folders of a `PATH`.
pub fn find(path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join("git"))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn versions_are_read_and_compared_with_their_release_line() {
        for (output, text, fixed) in [
            ("git version 2.36.9\n", "2.36.9", false),
            ("git version 2.47.3\n", "2.47.3", true),
            ("git version 2.47.2\n", "2.47.2", false),
            ("git version 2.39.5\n", "2.39.5", false),
            ("git version 2.50.1 (Apple Git-155)\n", "2.50.1", true),
            ("git version 2.51.0.windows.1", "2.51.0", true),
            ("git version 2.52.0-rc1", "2.52.0", true),
            ("git version 3.0", "3.0.0", true),
        ] {
            let version = Version::parse(output).expect("the row is a version");
            assert_eq!(
                (version.to_string().as_str(), version.is_fixed()),
                (text, fixed)
            );
            assert_eq!(version.pins_addresses(), text != "2.36.9");
        }
        assert_eq!(Version::parse("hg 6.0"), None);
    }
}
