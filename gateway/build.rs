//! Makes cargo notice when a page is added or removed, and names the page that must be there.

use std::path::Path;

const STUDIO: &str = "web/studio";
const CLIENT: &str = "web/client";
const EXAMPLES: &str = "web/examples";

fn main() {
    println!("cargo:rerun-if-changed={STUDIO}");
    println!("cargo:rerun-if-changed={CLIENT}");
    println!("cargo:rerun-if-changed={EXAMPLES}");
    let index = Path::new(STUDIO).join("index.html");
    assert!(
        index.is_file(),
        "gateway/{} is missing; the gateway has nothing to show at /studio",
        index.display()
    );
}
