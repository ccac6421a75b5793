//! Which repository a session works on, and by whose credential.

use cloud_agent_wire::{AllowedHosts, GitUrl, Secret};
use serde::de::{Deserialize, Deserializer, Error};

use super::text::{GithubRepo, check_git_token, non_empty, words};
use crate::trpc::issue::{Issue, Violation};

words!(
    /// The service that hosts a repository.
    Platform {
        /// GitHub.
        Github = "github",
        /// GitLab.
        Gitlab = "gitlab",
        /// Bitbucket, which is not supported.
        Bitbucket = "bitbucket",
    }
);

/// A repository and where its credential comes from.
#[derive(Debug, Clone)]
pub enum RepositoryInput {
    /// On GitHub; the credential is looked up at each delivery.
    Github {
        /// `owner/name`.
        repo: GithubRepo,
    },
    /// On a GitLab instance; the credential is looked up at each delivery.
    Gitlab {
        /// Its URL.
        url: GitUrl,
    },
    /// Anywhere else; the credential is the session's own.
    Git {
        /// Its URL.
        url: GitUrl,
        /// The first credential, checked and not empty. Without one, cloning is anonymous.
        token: Option<Secret>,
    },
}

impl RepositoryInput {
    /// Tells the kind of repository by the fields that are given, exactly one of the first two being allowed.
    pub(super) fn check(
        github_repo: Option<GithubRepo>,
        git_url: Option<&str>,
        platform: Option<Platform>,
        git_token: Option<Secret>,
        hosts: &AllowedHosts,
    ) -> Result<Self, Issue> {
        if platform == Some(Platform::Bitbucket) {
            let violation = Violation::custom("bitbucket is not supported");
            return Err(Issue::at("platform", violation));
        }
        match (github_repo, git_url) {
            (Some(repo), None) => Ok(Self::Github { repo }),
            (None, Some(url)) => {
                let url = GitUrl::parse(url, hosts)
                    .map_err(|error| Issue::at("gitUrl", Violation::format(error.message())))?;
                if platform == Some(Platform::Gitlab) {
                    return Ok(Self::Gitlab { url });
                }
                let token = non_empty(git_token);
                token.as_ref().map_or(Ok(()), check_git_token)?;
                Ok(Self::Git { url, token })
            }
            (Some(_), Some(_)) => Err(Issue::at(
                "gitUrl",
                Violation::custom("githubRepo and gitUrl cannot be given together"),
            )),
            (None, None) => Err(Issue::at(
                "githubRepo",
                Violation::custom("one of githubRepo and gitUrl is required"),
            )),
        }
    }
}
