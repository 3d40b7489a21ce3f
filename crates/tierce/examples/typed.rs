//! Values of a type of one's own, with a codec for the tiers below L1.
//!
//! `cargo run -p tierce --example typed`
#![allow(clippy::print_stdout)]

use tierce::{Bytes, Cache, Codec, Error, ErrorKind, Format, Result};

#[derive(Clone, Debug, PartialEq)]
struct User {
    id: u32,
    name: String,
}

/// `id name`, as text: other languages read it too.
struct UserCodec;

impl Codec<User> for UserCodec {
    fn encode(&self, user: &User) -> Result<(Bytes, Format)> {
        Ok((format!("{} {}", user.id, user.name).into(), Format::Text))
    }

    fn decode(&self, bytes: Bytes, _format: Format) -> Result<User> {
        let parse = || {
            let (id, name) = std::str::from_utf8(&bytes).ok()?.split_once(' ')?;
            Some(User { id: id.parse().ok()?, name: name.to_owned() })
        };
        parse().ok_or_else(|| Error::new(ErrorKind::Codec, "not a user"))
    }

    fn weight(&self, user: &User) -> usize {
        size_of::<User>() + user.name.len()
    }
}

fn main() -> Result<()> {
    let cache = Cache::builder().build_with(UserCodec)?;
    for _ in 0..2 {
        let user = cache.get_or_load_with("user:7", &Default::default(), |_key| {
            Ok::<_, Error>(User { id: 7, name: "Ada".to_owned() })
        })?;
        println!("{:?} from {:?}", user.value, user.origin);
    }
    println!("{:?}", cache.health());
    Ok(())
}
