//! gantryd: reads the configuration, opens the engine, serves both doors, and stops when it is told to.

mod config;
mod logging;
mod serve;
mod sockets;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// The Gantry node agent: one container engine behind the Kubernetes CRI and the Docker Engine REST API.
#[derive(Debug, Parser)]
#[command(name = "gantryd", version, about)]
struct Arguments {
    /// Configuration file (TOML). Without it, /etc/gantry/gantryd.toml if that exists, else the defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration in force, with every option explained, and end.
    #[arg(long)]
    print_config: bool,
    /// Check the configuration and end: exit code 0 when it is valid.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match config::Config::read(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("gantryd: {error}");
            return ExitCode::from(2);
        }
    };
    if arguments.print_config {
        return print(&config.explained());
    }
    if arguments.check_config {
        return ExitCode::SUCCESS;
    }
    logging::start(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads())
        .max_blocking_threads(config.blocking_threads_max)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("gantryd: start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            eprintln!("gantryd: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> ExitCode {
    use std::io::Write as _;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
