//! Health signals: what tells whether the business is well.

use staunch_model::{Failure, HealthReading};

/// A signal that can be read. It judges itself by its bound; what that means for a containment is the engine's.
pub trait HealthSignal: Send {
    /// Its name in the configuration.
    fn name(&self) -> &str;

    /// Reads it. Changes nothing, and returns within the two seconds for which the engine waits.
    ///
    /// # Errors
    /// Why it could not be read, which is neither healthy nor unhealthy.
    fn read(&mut self) -> Result<HealthReading, Failure>;
}
