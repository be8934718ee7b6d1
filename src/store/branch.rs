//! One branch of a conversation, a page at a time: the shape of the tree is read whole, texts only for the page.

use super::{
    Branch, BranchFound, BranchMessage, BranchQuery, StoreError,
    rows::{ConversationRow, MessageRow, READ, message_columns},
    sql::{Sql, on},
};
use crate::model::{ConversationId, Message, MessageId, UserId};
use sqlx::AssertSqlSafe;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// Messages read in one statement: SQLite looks for each parameter's name among all those before it.
const AT_ONCE: usize = 200;

/// The page that `query` asks for.
pub(super) async fn read(
    sql: &Sql,
    owner: UserId,
    id: ConversationId,
    query: &BranchQuery,
) -> Result<BranchFound, StoreError> {
    const SHAPE: &str =
        "SELECT id, parent_id FROM messages WHERE conversation_id = $1 ORDER BY position";
    // In this order the head is in the tree, whatever is stored in between.
    let row = on!(&sql.read, c => sqlx::query_as::<_, ConversationRow>(READ)
        .bind(owner.0).bind(id.0).fetch_optional(c))?;
    let Some(row) = row else {
        return Ok(BranchFound::NotFound);
    };
    let shape = on!(&sql.read, c => sqlx::query_as::<_, (Uuid, Option<Uuid>)>(SHAPE)
        .bind(id.0).fetch_all(c))?;
    let tree = Tree::new(&shape);
    let Some(page) = tree.page(row.head_id, query) else {
        return Ok(BranchFound::UnknownMessage);
    };
    let mut messages = messages(sql, &page.ids).await?;
    let siblings = tree.siblings(&page.ids);
    let messages = page.ids.iter().filter_map(|id| {
        Some(BranchMessage {
            message: messages.remove(id)?,
            siblings: siblings.get(id).cloned().unwrap_or_default(),
        })
    });
    Ok(BranchFound::Found(Box::new(Branch {
        messages: messages.collect(),
        conversation: row.into(),
        leaf_id: page.leaf.map(MessageId),
        earlier: page.earlier,
    })))
}

async fn messages(sql: &Sql, ids: &[Uuid]) -> Result<HashMap<Uuid, Message>, StoreError> {
    let mut messages = HashMap::with_capacity(ids.len());
    for ids in ids.chunks(AT_ONCE) {
        let places: Vec<_> = (1..=ids.len()).map(|n| format!("${n}")).collect();
        let text = format!(
            concat!(
                "SELECT ",
                message_columns!(),
                " FROM messages m WHERE m.id IN ({})"
            ),
            places.join(", ")
        );
        let rows = on!(&sql.read, c => {
            let mut query = sqlx::query_as::<_, MessageRow>(AssertSqlSafe(text));
            for id in ids {
                query = query.bind(id);
            }
            query.fetch_all(c)
        })?;
        for row in rows {
            let message = Message::try_from(row)?;
            messages.insert(message.id.0, message);
        }
    }
    Ok(messages)
}

/// The shape of a conversation: its messages in order of creation, parents before their children.
struct Tree<'a> {
    shape: &'a [(Uuid, Option<Uuid>)],
    places: HashMap<Uuid, usize>,
}

#[derive(Debug, PartialEq, Eq)]
struct Page {
    /// From the root's side on.
    ids: Vec<Uuid>,
    /// The end of the branch.
    leaf: Option<Uuid>,
    /// There are more above.
    earlier: bool,
}

impl<'a> Tree<'a> {
    fn new(shape: &'a [(Uuid, Option<Uuid>)]) -> Self {
        let places = shape.iter().enumerate().map(|(n, (id, _))| (*id, n));
        Self {
            places: places.collect(),
            shape,
        }
    }

    /// `None` when a message that is named is not in the tree.
    fn page(&self, head: Option<Uuid>, query: &BranchQuery) -> Option<Page> {
        let place = |id: MessageId| self.places.get(&id.0).copied();
        let mut leaf = match query.through {
            Some(id) => Some(self.newest_below(place(id)?)),
            None => head.and_then(|head| self.places.get(&head).copied()),
        };
        let mut path = self.path(leaf);
        if let Some(before) = query.before {
            let before = place(before)?;
            if !path.contains(&before) {
                leaf = Some(self.newest_below(before));
                path = self.path(leaf);
            }
            path.retain(|place| *place < before);
        }
        let limit = usize::try_from(query.limit.max(1)).unwrap_or(usize::MAX);
        let skipped = path.len().saturating_sub(limit);
        Some(Page {
            ids: path[skipped..]
                .iter()
                .map(|place| self.shape[*place].0)
                .collect(),
            leaf: leaf.map(|place| self.shape[place].0),
            earlier: skipped > 0,
        })
    }

    /// From the root to `leaf`.
    fn path(&self, leaf: Option<usize>) -> Vec<usize> {
        let mut path: Vec<_> = std::iter::successors(leaf, |place| self.parent(*place)).collect();
        path.reverse();
        path
    }

    fn parent(&self, place: usize) -> Option<usize> {
        let parent = self.places.get(&self.shape[place].1?).copied();
        // Never in a circle, whatever the store says.
        parent.filter(|parent| *parent < place)
    }

    /// The end of the branch that takes the newest child each time.
    fn newest_below(&self, from: usize) -> usize {
        let mut leaf = from;
        let mut newest = HashMap::new();
        for place in from + 1..self.shape.len() {
            if let Some(parent) = self.parent(place) {
                newest.insert(parent, place);
            }
        }
        while let Some(child) = newest.get(&leaf) {
            leaf = *child;
        }
        leaf
    }

    /// Of each of `ids` that has any: itself and the others below the same parent, in order of creation.
    fn siblings(&self, ids: &[Uuid]) -> HashMap<Uuid, Vec<MessageId>> {
        let parent_of = |id: &Uuid| self.shape[self.places[id]].1;
        let parents: HashSet<_> = ids.iter().map(parent_of).collect();
        let mut children: HashMap<Option<Uuid>, Vec<MessageId>> = HashMap::new();
        for (id, parent) in self.shape {
            if parents.contains(parent) {
                children.entry(*parent).or_default().push(MessageId(*id));
            }
        }
        children.retain(|_, children| children.len() > 1);
        let siblings = |id: &Uuid| Some((*id, children.get(&parent_of(id))?.clone()));
        ids.iter().filter_map(siblings).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: usize) -> Uuid {
        Uuid::from_u128(n as u128 + 1)
    }

    /// A tree from the place of each message's parent.
    fn shape(parents: &[Option<usize>]) -> Vec<(Uuid, Option<Uuid>)> {
        let parents = parents.iter().enumerate();
        parents.map(|(n, parent)| (id(n), parent.map(id))).collect()
    }

    fn ask(through: Option<usize>, before: Option<usize>, limit: u32) -> BranchQuery {
        let message = |n| MessageId(id(n));
        BranchQuery {
            through: through.map(message),
            before: before.map(message),
            limit,
        }
    }

    /// 0 ─ 1 ─ 2 ─ 4 ─ 6, with 3 and 5 below 0, 7 a root of its own.
    const PARENTS: [Option<usize>; 8] = [
        None,
        Some(0),
        Some(1),
        Some(0),
        Some(2),
        Some(0),
        Some(4),
        None,
    ];

    #[test]
    fn a_page_is_the_end_of_a_branch_or_what_is_above() {
        let shape = shape(&PARENTS);
        let tree = Tree::new(&shape);
        for (head, query, ids, leaf, earlier) in [
            (6, ask(None, None, 2), &[4, 6][..], 6, true),
            (6, ask(None, None, 5), &[0, 1, 2, 4, 6], 6, false),
            (6, ask(None, Some(4), 2), &[1, 2], 6, true),
            (6, ask(None, Some(1), 2), &[0], 6, false),
            (6, ask(None, Some(0), 2), &[], 6, false),
            // The head need not be a leaf.
            (2, ask(None, None, 9), &[0, 1, 2], 2, false),
            (2, ask(Some(1), None, 9), &[0, 1, 2, 4, 6], 6, false),
            (6, ask(Some(0), None, 9), &[0, 5], 5, false),
            (6, ask(Some(3), None, 9), &[0, 3], 3, false),
            (6, ask(Some(7), None, 9), &[7], 7, false),
            // What is asked for is above this one, whatever the head is.
            (7, ask(None, Some(2), 9), &[0, 1], 6, false),
            (6, ask(Some(3), Some(3), 9), &[0], 3, false),
        ] {
            let page = tree.page(Some(id(head)), &query).expect("a page");
            let expected = Page {
                ids: ids.iter().copied().map(id).collect(),
                leaf: Some(id(leaf)),
                earlier,
            };
            assert_eq!(page, expected, "{query:?}");
        }
        assert_eq!(tree.page(Some(id(6)), &ask(Some(8), None, 9)), None);
        assert_eq!(tree.page(Some(id(6)), &ask(None, Some(8), 9)), None);
        let empty = Tree::new(&[]).page(None, &ask(None, None, 9));
        let nothing = Page {
            ids: Vec::new(),
            leaf: None,
            earlier: false,
        };
        assert_eq!(empty, Some(nothing));
    }

    #[test]
    fn siblings_are_told_in_order_of_creation_and_roots_have_some() {
        let shape = shape(&PARENTS);
        let siblings = Tree::new(&shape).siblings(&[id(0), id(3), id(2)]);
        let of = |n| siblings.get(&id(n)).cloned();
        let ids = |ids: &[usize]| Some(ids.iter().map(|n| MessageId(id(*n))).collect::<Vec<_>>());
        assert_eq!(of(0), ids(&[0, 7]));
        assert_eq!(of(3), ids(&[1, 3, 5]));
        assert_eq!(of(2), None);
    }

    proptest! {
        /// Pages read upwards, one before the other, are the whole path, once, whatever the tree and the page's length.
        #[test]
        fn pages_upwards_are_the_path(
            parents in prop::collection::vec(any::<Option<prop::sample::Index>>(), 1..60),
            through in any::<prop::sample::Index>(),
            limit in 1u32..9,
        ) {
            let parents: Vec<_> = parents
                .iter()
                .enumerate()
                .map(|(n, parent)| parent.filter(|_| n > 0).map(|parent| parent.index(n)))
                .collect();
            let shape = shape(&parents);
            let tree = Tree::new(&shape);
            let through = through.index(parents.len());
            let whole = tree.page(None, &ask(Some(through), None, u32::MAX)).expect("a page");
            prop_assert!(whole.ids.contains(&id(through)) && !whole.earlier);
            prop_assert_eq!(whole.ids.last(), whole.leaf.as_ref());
            prop_assert!(!parents.contains(&Some(tree.places[&whole.leaf.expect("a leaf")])));
            let mut read: Vec<Uuid> = Vec::new();
            let mut query = ask(Some(through), None, limit);
            loop {
                let page = tree.page(None, &query).expect("a page");
                prop_assert_eq!(page.leaf, whole.leaf);
                prop_assert!(page.ids.len() <= limit as usize);
                read.splice(0..0, page.ids);
                if !page.earlier {
                    break;
                }
                query.before = read.first().map(|id| MessageId(*id));
            }
            prop_assert_eq!(read, whole.ids);
        }
    }
}
