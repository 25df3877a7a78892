//! Inlets: ways in which events come to Staunch without being posted to it.
//!
//! An inlet moves bytes and never looks into them; what they mean is a source's business.

pub mod file;
