use std::time::Duration;

/// How patient the comparison is, and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// How long a source may take for what another has delivered.
    pub grace: Duration,
    /// Comparable commits that are missed in a row until a source counts as blind.
    pub misses: u32,
    /// How long a source that was rewound may take to deliver what it missed.
    pub trial: Duration,
    /// The shortest time for which a source that was let go is not asked again; each time twice as long.
    pub rest_min: Duration,
    /// The longest.
    pub rest_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            grace: Duration::from_mins(1),
            misses: 3,
            trial: Duration::from_mins(3),
            rest_min: Duration::from_mins(10),
            rest_max: Duration::from_hours(12),
        }
    }
}
