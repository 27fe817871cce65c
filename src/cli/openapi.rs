use super::output::print;
use crate::model::Collections;

/// Prints the document.
pub(super) fn run(collections: &Collections) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(&crate::serve::openapi(collections))?;
    print(&format!("{text}\n"));
    Ok(())
}
