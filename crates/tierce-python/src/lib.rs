//! The extension module `tierce._tierce`.
