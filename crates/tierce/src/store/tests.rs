//! Tests of the store that need its insides.
