//! Values of a type of one's own, which serde knows. For other forms, write a `Codec`.
//!
//! `cargo run -p tierce --features serde --example typed`
#![allow(clippy::print_stdout)]

use serde::{Deserialize, Serialize};
use tierce::{Cache, Error, JsonCodec, Result};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u32,
    name: String,
}

fn main() -> Result<()> {
    // What a value weighs is known without writing it.
    let codec = JsonCodec::<User>::new().weigh_by(|user| size_of::<User>() + user.name.len());
    let cache = Cache::builder().build_with(codec)?;
    for _ in 0..2 {
        let user = cache.get_or_load_with("user:7", &Default::default(), |_key| {
            Ok::<_, Error>(User { id: 7, name: "Ada".to_owned() })
        })?;
        println!("{:?} from {:?}", user.value, user.origin);
    }
    println!("{:?}", cache.health());
    Ok(())
}
