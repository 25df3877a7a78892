//! Starts jobs for the tests of the driver, as a hidden command of the binary does for a server.

use std::process::ExitCode;

use staunch_connectors::actions::exec_job::launch;

fn main() -> ExitCode {
    launch::main(&std::env::args().skip(1).collect::<Vec<_>>())
}
