//! Drives the engine: intake, event loop, effects, timers, drift sweep and telemetry.
