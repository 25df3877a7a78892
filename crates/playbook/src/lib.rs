//! The playbook language: parse with spans, check everything, compile to the plan the engine runs.
