//! Starts the server and stops it again.

use std::io::{self, Write as _};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use cloud_agent_wire::BootId;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use uuid::Uuid;

use crate::config::{Config, ConfigError};
use crate::context::Context;
use crate::git::version::{self, Version};
use crate::limits::SHUTDOWN_GRACE;
use crate::process::kill_leftovers;
use crate::server::App;
use crate::session::recover;
use crate::store::root::Store;

/// Runs until a signal asks for the end. 0 after an orderly end, 2 when the configuration does not fit the machine,
/// 1 when something else fails.
pub fn main(config: Config) -> ExitCode {
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Config(error)) => {
            eprintln!("{error}");
            ExitCode::from(crate::EXIT_CONFIG)
        }
        Err(StartError::System(what, error)) => {
            eprintln!("{what}: {error}");
            ExitCode::FAILURE
        }
    }
}

enum StartError {
    Config(ConfigError),
    System(&'static str, io::Error),
}

fn run(config: Config) -> Result<(), StartError> {
    let system = |what| move |error: io::Error| StartError::System(what, error);
    harden().map_err(system("the process could not be hardened"))?;
    let context = context(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(system("the event loop could not be started"))?;
    let killed = kill_leftovers(context.store.id().as_str());
    if killed > 0 {
        tracing::warn!(
            killed,
            "killed processes that an earlier runtime left behind"
        );
    }
    recover(&context).map_err(system("WORKSPACE_ROOT could not be read"))?;
    runtime
        .block_on(serve(context))
        .map_err(system("the server failed"))
}

/// No memory of this process or its children lands in a core file, and other processes of its user cannot read
/// its memory and environment.
fn harden() -> io::Result<()> {
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

fn context(config: Config) -> Result<Arc<Context>, StartError> {
    let git = version::find(&config.path).ok_or(StartError::Config(ConfigError::no_git()))?;
    let git_version = installed_version(&git)
        .map_err(|error| StartError::System("git --version failed", error))?;
    if !git_version.is_fixed() {
        tracing::warn!(code = "git_too_old", version = %git_version, "this git release lacks security fixes unless the distribution patched it");
    }
    let store = Store::open(&config.root, config.agent_uid.is_some()).map_err(|error| {
        let what = match error.kind() {
            io::ErrorKind::WouldBlock => "WORKSPACE_ROOT is in use by another runtime",
            _ => "WORKSPACE_ROOT cannot be used",
        };
        StartError::System(what, error)
    })?;
    let program = std::env::current_exe()
        .map_err(|error| StartError::System("the program's own path is unknown", error))?;
    let boot_id: BootId = Uuid::new_v4()
        .to_string()
        .parse()
        .map_err(|error| StartError::System("no boot id", io::Error::other(error)))?;
    Ok(Arc::new(Context {
        config,
        store,
        boot_id,
        git,
        git_version,
        program,
    }))
}

fn installed_version(git: &std::path::Path) -> io::Result<Version> {
    let output = Command::new(git).arg("--version").env_clear().output()?;
    Version::parse(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| io::Error::other("the output is no version"))
}

async fn serve(context: Arc<Context>) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind((context.config.host, context.config.port)).await?;
    let address = listener.local_addr()?;
    let app = App::new(Arc::clone(&context));
    tracing::info!(store = %context.store.id(), boot = %context.boot_id, git = %context.git_version, %address, "listening");
    // Scripts wait for exactly this line.
    let mut stdout = io::stdout();
    writeln!(stdout, "workspace-runtime listening on http://{address}")?;
    stdout.flush()?;

    let router = app.router();
    let (stopped, wait_for_stop) = tokio::sync::oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        // The sender going away is the same wish.
        let _ = wait_for_stop.await;
    });
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        if tokio::time::timeout(SHUTDOWN_GRACE, app.stop())
            .await
            .is_err()
        {
            tracing::error!("something did not end in time");
        }
        let _ = stopped.send(());
    };
    let server = async move { server.await };
    let server = tokio::spawn(server);
    stop.await;
    match tokio::time::timeout(SHUTDOWN_GRACE, server).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(io::Error::other(error)),
        // Idle connections of callers do not keep the process alive.
        Err(_) => Ok(()),
    }
}
