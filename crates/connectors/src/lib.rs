//! Sources, enrichers, actions and notifiers: one module for each outside system.
