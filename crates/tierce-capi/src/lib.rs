//! The C ABI of tierce.
