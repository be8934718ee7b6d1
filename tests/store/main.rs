//! The store's contract: every fact is checked on SQLite and on Postgres.
//!
//! The Postgres tests need `CONTINUO_TEST_POSTGRES_URL`, a superuser's URL to a server; each creates a database of its own and drops
//! it. Without it they are ignored.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod accounts;
mod branches;
mod continuing;
mod conversations;
#[path = "../support/database.rs"]
mod database;
mod deleting;
mod exchanges;
mod importing;
mod leases;
mod opening;
mod recording;
mod recovery;
mod sameness;
mod scratch;
mod searching;
mod silence;
mod spending;
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
        a_key_works_until_it_is_revoked_expires_or_its_user_is_disabled,
        a_key_is_added_once_for_an_idempotency_key_of_whoever_asks,
        of_many_keys_added_at_once_no_more_are_there_than_a_user_may_have,
        a_login_link_works_once,
        a_login_link_does_not_outlive_its_time_or_its_user,
        a_login_lasts_until_logout_expiry_or_its_user_is_disabled,
        a_login_that_nobody_uses_ends_and_one_that_is_used_does_not,
        a_login_by_a_key_ends_with_the_key,
        the_last_operator_stays_one_also_when_two_take_it_from_each_other,
        the_epoch_moves_with_all_that_is_taken_away_and_with_nothing_else,
        who_is_vouched_for_is_who_would_be_let_in,
        keys_and_logins_from_before_the_migration_hold,
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
    branches: [
        pages_of_a_branch_are_its_messages_once_and_in_order,
        what_is_not_of_a_conversation_has_no_branch_in_it,
        a_head_moves_within_its_conversation_and_counts_as_no_change,
    ],
    deleting: [
        what_is_deleted_is_not_there_for_anybody,
        a_deleted_conversation_comes_back_as_it_was,
        what_was_deleted_long_enough_ago_is_purged_and_nothing_else,
        a_purge_left_half_done_is_finished_and_nothing_comes_back,
        of_twenty_who_delete_one_does,
        a_conversation_is_restored_whole_or_purged_whole,
        several_nodes_purge_each_conversation_once,
        a_prompt_or_a_deletion_comes_first,
        an_end_that_comes_late_neither_fails_nor_brings_anything_back,
    ],
    importing: [
        a_whole_conversation_reads_back_as_it_was_given,
        an_import_that_fails_or_is_dropped_leaves_nothing,
        an_import_happens_once_for_a_key,
    ],
    exchanges: [
        an_exchange_is_a_conversation_whose_last_message_is_answered,
        an_exchange_that_fails_or_is_dropped_leaves_nothing,
        of_twenty_twins_one_exchange_is_stored,
    ],
    searching: [
        every_word_is_found_somewhere_in_any_script_and_case,
        wildcards_are_characters,
        a_search_is_paged_and_shows_where_it_hit,
        absurd_queries_are_answered,
        what_is_found_does_not_depend_on_what_is_indexed,
        segments_are_merged_and_say_the_same,
        thousands_of_hits_come_in_order,
        what_changes_after_it_was_indexed_is_found_as_it_is,
        an_index_that_was_broken_off_loses_nothing,
        several_processes_index_at_once,
        what_was_there_before_there_was_an_index_is_indexed,
    ],
    turns: [
        a_prompt_stores_question_answer_and_head,
        the_first_prompt_gives_an_untitled_conversation_its_title,
        a_title_that_nobody_gave_is_replaced_once_and_one_that_somebody_gave_never,
        the_path_goes_from_the_root_without_empty_answers,
        a_prompt_is_refused_where_it_cannot_stand_and_stores_nothing,
        twenty_twins_have_one_effect,
        of_twenty_prompts_below_one_head_one_begins,
        another_answer_is_a_sibling_and_becomes_the_head,
        a_generation_ends_once_with_everything_known,
        what_postgres_refuses_is_mended,
        a_megabyte_comes_back_whole,
        a_dropped_call_leaves_all_or_nothing,
        another_users_turns_are_not_there,
    ],
    continuing: [
        an_unfinished_answer_streams_again_with_its_text,
        what_ended_before_it_was_complete_can_be_carried_on,
        what_cannot_be_carried_on_is_refused_and_stays,
        of_twenty_who_carry_on_one_does,
        carrying_on_happens_once_for_a_key,
        the_head_moves_only_to_an_answer_that_was_the_last_word,
        an_answer_to_which_nothing_was_added_is_as_before,
    ],
    leases: [
        a_lease_is_renewed_only_in_its_own_epoch,
        nothing_begins_under_a_lease_that_was_taken_away,
        an_expired_lease_is_taken_once_and_fences_its_node,
        a_lease_renewed_in_time_is_not_taken,
        of_many_sweepers_at_once_one_recovers,
        a_node_that_comes_back_in_time_goes_on,
        what_runs_here_and_elsewhere_is_known,
    ],
    recording: [
        events_come_back_after_any_position,
        a_batch_may_come_twice,
        what_does_not_run_under_this_lease_is_left_out,
        nothing_arrives_once_the_lease_was_taken,
        thousands_of_segments_are_one_batch,
        every_byte_of_an_event_comes_back,
        a_refused_segment_keeps_its_batch_out_and_no_more,
        a_conversation_deleted_meanwhile_fails_no_batch,
        a_dropped_batch_is_there_whole_or_not_at_all,
        the_end_and_its_tail_are_one,
        the_tail_is_whole_even_where_a_batch_arrived_unnoticed,
        a_dropped_end_leaves_all_or_nothing,
        events_are_forgotten_once_their_time_is_over,
        events_of_hundreds_of_generations_are_forgotten,
    ],
    recovery: [
        what_was_recorded_is_left_over,
        only_what_nobody_runs_is_recovered,
        its_own_end_counts_after_it_was_recovered,
        its_own_end_comes_too_late_once_the_answer_was_carried_on,
        more_text_counts_though_its_recovery_found_none,
        forgotten_events_do_not_come_back_with_a_late_end,
        what_ran_before_the_migration_is_recovered,
    ],
    spending: [what_was_spent_is_known_by_user_key_and_day_and_counts_once],
    opening: [
        what_was_stored_is_there_after_reopening,
        several_processes_open_a_fresh_database_at_once,
        a_closed_store_is_unavailable,
        a_newer_schema_is_refused_in_one_line,
    ],
}
