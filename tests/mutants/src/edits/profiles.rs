//! Name and picture of those who are shown.

use super::Edit;

pub(super) const EDITS: &[Edit] = &[
    Edit {
        name: "hidden_actors_keep_late_profiles",
        file: "src/store/actors/bluesky_profiles.rs",
        find: "AND EXISTS (SELECT FROM visible_actors a WHERE a.id = b.actor_id)",
        replace: "AND EXISTS (SELECT FROM actors a WHERE a.id = b.actor_id)",
        models: "an answer that was under way when its owner was hidden is stored all the same",
        tests: &["pipeline::profiles::r5_a_hidden_account_is_neither_shown_nor_asked_about"],
    },
    Edit {
        name: "profiles_survive_the_purge",
        file: "src/store/actors/tombstones.rs",
        find: "    sqlx::query!(\"DELETE FROM bluesky_profiles WHERE actor_id = $1\", actor_id).execute(&mut *connection).await?;\n",
        replace: "",
        models: "name and picture of a deleted account stay in the database for ever",
        tests: &["pipeline::profiles::a1_a_deleted_account_loses_its_profile_and_a_restored_one_gets_it_back"],
    },
    Edit {
        name: "the_other_picture_wins",
        file: "src/store/views/mod.rs",
        find: "let (None, Some(host), Some(cid)) = (&own, host, stored_cid(cid)?) else { return Ok(own) };",
        replace: "let (Some(host), Some(cid)) = (host, stored_cid(cid)?) else { return Ok(own) };",
        models: "an artist with a picture of their own on plyr.fm is shown with another",
        tests: &["pipeline::profiles::the_own_profile_wins_field_by_field"],
    },
    Edit {
        name: "names_of_any_length",
        file: "src/decode/record/bluesky_profile.rs",
        find: "TextRule { graphemes_max: 64, ..TextRule::up_to(640) }",
        replace: "TextRule { graphemes_max: 64, ..TextRule::ANY }",
        models: "a name of a megabyte is shown beside each of their likes",
        tests: &["pipeline::decode::bluesky::a_name_within_its_bounds_is_taken_and_no_other"],
    },
];
