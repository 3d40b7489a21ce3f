//! Reads one key again and again, for a tool that counts instructions; see `scripts/metrics-cost.sh`.
//!
//! ```text
//! hit_cost COUNT [L1|L1L2]
//! ```

use std::{env, hint::black_box};

use tierce::{Bytes, Cache, Tiering};

/// Where the key begins that is asked for. Comparing memory takes some instructions more where the ends
/// of two pages seem near, which depends on where the linker puts a literal.
#[repr(align(4096))]
struct Page([u8; 4096]);

const KEY: &[u8] = b"user:4711";

fn main() -> tierce::Result<()> {
    let arguments: Vec<String> = env::args().collect();
    let count: u64 = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let tiering: Tiering = arguments.get(2).map_or(Ok(Tiering::L1), |text| text.parse())?;
    let builder = Cache::builder().tiering(tiering);
    #[cfg(feature = "shared")]
    let folder = env::temp_dir().join(format!("tierce-hit-cost-{}", std::process::id()));
    #[cfg(feature = "shared")]
    let builder = builder.shared(tierce::StoreOptions::new(&folder));
    let cache: Cache = builder.build()?;
    cache.set(KEY, Bytes::from_static(b"Ada"))?;
    let mut page = Box::new(Page([0; 4096]));
    page.0[..KEY.len()].copy_from_slice(KEY);
    let key = &page.0[..KEY.len()];
    let mut found = 0_u64;
    for _ in 0..count {
        found += u64::from(black_box(cache.get(black_box(key))).is_some());
    }
    assert_eq!(found, count, "every read is a hit");
    drop(cache);
    #[cfg(feature = "shared")]
    // On L1 alone there is none.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(())
}
