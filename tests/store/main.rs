//! The store's contract: every fact is checked on SQLite and on Postgres.
//!
//! The Postgres tests need `CONTINUO_TEST_POSTGRES_URL`, a superuser's URL to a server; each creates a database of its own and drops
//! it. Without it they are ignored.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod accounts;
mod conversations;
#[path = "../support/database.rs"]
mod database;
mod opening;
mod sameness;
mod scratch;
mod searching;
mod turns;

/// A test on each engine from every `async fn fact(db: &Scratch)` named.
macro_rules! on_both_engines {
    ($($module:ident: [$($fact:ident),* $(,)?]),* $(,)?) => {
        mod sqlite {$(
            mod $module {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $fact() {
                    crate::scratch::on_sqlite(async |db| crate::$module::$fact(db).await).await;
                }
            )*}
        )*}
        mod postgres {$(
            mod $module {$(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                #[ignore = "needs Postgres: CONTINUO_TEST_POSTGRES_URL, see tests/run"]
                async fn $fact() {
                    crate::scratch::on_postgres(async |db| crate::$module::$fact(db).await).await;
                }
            )*}
        )*}
    };
}

on_both_engines! {
    accounts: [
        the_first_start_makes_one_operator_however_many_processes_start,
        nobody_is_made_an_operator_because_of_a_name,
        a_name_is_taken_once,
        a_key_works_until_it_is_revoked_or_its_user_disabled,
        a_login_link_works_once,
        a_login_link_does_not_outlive_its_time_or_its_user,
        a_login_lasts_until_logout_expiry_or_its_user_is_disabled,
        a_login_by_a_key_dies_with_the_key,
    ],
    conversations: [
        a_conversation_reads_back_as_it_was_made,
        a_key_creates_once_and_counts_for_a_day,
        of_twenty_changes_of_one_version_one_is_made,
        a_change_sets_and_clears_only_what_it_names,
        pages_neither_repeat_nor_lose_a_conversation_that_rests,
        a_conversation_is_deleted_with_its_messages_unless_it_runs,
        a_very_long_conversation_can_be_answered_and_deleted,
        another_users_conversation_is_not_there,
    ],
    searching: [
        every_word_is_found_somewhere_in_any_script_and_case,
        wildcards_are_characters,
        a_search_is_paged_and_shows_where_it_hit,
        absurd_queries_are_answered,
    ],
    turns: [
        a_prompt_stores_question_answer_and_head,
        the_first_prompt_gives_an_untitled_conversation_its_title,
        the_path_goes_from_the_root_without_empty_answers,
        a_prompt_is_refused_where_it_cannot_stand_and_stores_nothing,
        twenty_twins_have_one_effect,
        of_twenty_prompts_below_one_head_one_begins,
        another_answer_is_a_sibling_and_becomes_the_head,
        a_generation_ends_once_with_everything_known,
        what_postgres_refuses_is_mended,
        only_this_nodes_left_over_generations_are_interrupted,
        a_megabyte_comes_back_whole,
        a_dropped_call_leaves_all_or_nothing,
        another_users_turns_are_not_there,
    ],
    opening: [
        what_was_stored_is_there_after_reopening,
        several_processes_open_a_fresh_database_at_once,
        a_closed_store_is_unavailable,
        a_newer_schema_is_refused_in_one_line,
    ],
}
