//! later
use anyhow::Result;
pub(crate) async fn run() -> Result<()> {
    Ok(())
}
