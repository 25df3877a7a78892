//! The staunch program: commands, configuration and the wiring of concrete parts.

fn main() {}
