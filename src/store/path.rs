//! What was said before an answer.

use super::{
    PathMessage, StoreError,
    sql::{Tx, failed, on},
};
use uuid::Uuid;

/// From the root to `leaf`, without the answers that never got a word.
pub(super) async fn path(tx: &mut Tx, leaf: Uuid) -> Result<Vec<PathMessage>, StoreError> {
    // Each parent is looked up by a subquery: for a join Postgres prefers to read a small table again for every step.
    const SQL: &str = "WITH RECURSIVE path (id, parent_id, depth) AS (
            SELECT id, parent_id, 0 FROM messages WHERE id = $1
            UNION ALL
            SELECT parent_id, (SELECT m.parent_id FROM messages m WHERE m.id = path.parent_id), depth + 1
            FROM path WHERE parent_id IS NOT NULL
        )
        SELECT m.role, m.content FROM path JOIN messages m ON m.id = path.id
        WHERE m.role <> 'assistant' OR m.content <> '' ORDER BY path.depth DESC";
    let rows =
        on!(tx.on(), c => sqlx::query_as::<_, (String, String)>(SQL).bind(leaf).fetch_all(c))?;
    rows.into_iter()
        .map(|(role, content)| {
            let role = role.parse().map_err(failed)?;
            Ok(PathMessage { role, content })
        })
        .collect()
}
