/// Prints the document.
pub(super) fn run() -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&crate::serve::openapi())?;
    super::print(&format!("{text}\n"));
    Ok(())
}
