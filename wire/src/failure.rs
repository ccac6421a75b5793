//! The vocabulary of failures, shared by the runtime that sees them and the object that decides on retries.

use serde::{Deserialize, Serialize};

use crate::ids::Generation;

/// Why a message did not complete, as data: nothing here was printed by git, the agent or a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// How far the message had come.
    pub stage: FailureStage,
    /// What failed.
    pub code: FailureCode,
    /// Which kind of workspace failure, for [`FailureCode::WorkspaceSetupFailed`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub subtype: Option<FailureSubtype>,
    /// The credential generation that was in use.
    #[serde(default)]
    pub generation: Generation,
    /// Facts such as `exit code 128 after 0.4 s`; never output of a process. At most 512 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "typescript", derive(ts_rs::TS))]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every word, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as it stands in events and results.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

vocabulary!(
    /// How far a message had come when it failed.
    FailureStage {
        /// The agent was not started.
        PreDispatch = "pre_dispatch",
        /// The agent was started and had shown nothing.
        PostDispatchNoActivity = "post_dispatch_no_activity",
        /// The agent had shown activity.
        AgentActivity = "agent_activity",
        /// Somebody or something stopped it.
        Interruption = "interruption",
    }
);

vocabulary!(
    /// What failed.
    FailureCode {
        /// The runtime could not be reached or did not answer in time.
        SandboxConnectFailed = "sandbox_connect_failed",
        /// The workspace could not be prepared; see the subtype.
        WorkspaceSetupFailed = "workspace_setup_failed",
        /// The agent's server did not come up.
        KiloServerFailed = "kilo_server_failed",
        /// The agent's process could not be started.
        WrapperStartFailed = "wrapper_start_failed",
        /// The request can never be delivered as it is.
        InvalidDeliveryRequest = "invalid_delivery_request",
        /// The session's record is missing or unreadable.
        SessionMetadataMissing = "session_metadata_missing",
        /// No model is known for the turn.
        ModelMissing = "model_missing",
        /// Delivery failed in a way that none of the others name.
        DeliveryFailureUnknown = "delivery_failure_unknown",
        /// The runtime that ran the agent is gone.
        WrapperDisconnected = "wrapper_disconnected",
        /// The agent showed nothing for too long.
        WrapperNoOutput = "wrapper_no_output",
        /// The runtime did not answer while the agent ran.
        WrapperPingTimeout = "wrapper_ping_timeout",
        /// The agent ended with an error before it showed activity.
        WrapperErrorBeforeActivity = "wrapper_error_before_activity",
        /// The agent reported an error.
        AssistantError = "assistant_error",
        /// The agent ended with an error after it had shown activity.
        WrapperErrorAfterActivity = "wrapper_error_after_activity",
        /// The agent ended without an answer.
        MissingAssistantReply = "missing_assistant_reply",
        /// The account cannot pay.
        PaymentRequired = "payment_required",
        /// The user stopped it.
        UserInterrupt = "user_interrupt",
        /// The runtime's process or container stopped.
        ContainerShutdown = "container_shutdown",
        /// The system stopped it.
        SystemInterrupt = "system_interrupt",
        /// Something else.
        Unclassified = "unclassified",
    }
);

vocabulary!(
    /// Which part of preparing a workspace failed.
    FailureSubtype {
        /// The clone ran out of time.
        GitCloneTimeout = "git_clone_timeout",
        /// The checkout ran out of time.
        GitCheckoutTimeout = "git_checkout_timeout",
        /// The remote refused the credential.
        GitAuthenticationFailed = "git_authentication_failed",
        /// The remote asked to slow down.
        GitRateLimited = "git_rate_limited",
        /// The remote could not be reached, or the connection broke.
        GitNetworkFailed = "git_network_failed",
        /// The received objects were damaged.
        GitPackCorrupt = "git_pack_corrupt",
        /// The checkout would overwrite changes.
        GitCheckoutConflict = "git_checkout_conflict",
        /// The branch does not exist on the remote.
        GitBranchMissing = "git_branch_missing",
        /// The disk is full.
        SandboxStorageFull = "sandbox_storage_full",
        /// Importing the agent's session ran out of time.
        KiloImportTimeout = "kilo_import_timeout",
        /// Importing the agent's session failed.
        KiloImportFailed = "kilo_import_failed",
        /// A setup command ran out of time.
        SetupCommandTimeout = "setup_command_timeout",
        /// A setup command failed.
        SetupCommandFailed = "setup_command_failed",
        /// Something else.
        WorkspaceSetupUnknown = "workspace_setup_unknown",
    }
);
