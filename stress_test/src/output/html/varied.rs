//! What a sweep varied: the horizontal axis of its pictures, and the lines in them.
//!
//! Knows the cells of one mix; not what of them is drawn.
//!
//! Rule: what has several values comes to the axis; what is left tells the lines apart.

use crate::figures::sweep::CellFigures;

/// What a sweep varied most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Varied {
    /// The server's `--workers`.
    Workers,
    /// The server's `--queue`.
    Queue,
    /// The clients.
    Clients,
}

impl Varied {
    /// The first that has several values in `cells`; if none has, the workers.
    pub(crate) fn of(cells: &[&CellFigures]) -> Self {
        let all = [Self::Workers, Self::Queue, Self::Clients];
        let varies = |varied: &Self| varied.values(cells).len() > 1;
        all.into_iter().find(varies).unwrap_or(Self::Workers)
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Workers => "workers",
            Self::Queue => "queue",
            Self::Clients => "clients",
        }
    }

    /// So much of it.
    pub(crate) fn in_words(self, value: u32) -> String {
        let many = if value == 1 { "" } else { "s" };
        match self {
            Self::Workers => format!("{value} worker{many}"),
            Self::Queue => format!("a queue of {value}"),
            Self::Clients => format!("{value} client{many}"),
        }
    }

    /// Its value in `cell`.
    pub(crate) fn value(self, cell: &CellFigures) -> u32 {
        match self {
            Self::Workers => cell.workers,
            Self::Queue => cell.queue,
            Self::Clients => cell.clients,
        }
    }

    /// Its values in `cells`, each once, in rising order.
    pub(crate) fn values(self, cells: &[&CellFigures]) -> Vec<u32> {
        let mut values: Vec<u32> = cells.iter().map(|cell| self.value(cell)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    /// Cells that differ in nothing else, with what they have in common.
    pub(crate) fn groups<'a>(
        self,
        cells: &[&'a CellFigures],
    ) -> Vec<(String, Vec<&'a CellFigures>)> {
        let mut groups: Vec<(String, Vec<&CellFigures>)> = Vec::new();
        for &cell in cells {
            let name = self.others_in_words(cell);
            match groups.iter_mut().find(|(other, _)| *other == name) {
                Some((_, group)) => group.push(cell),
                None => groups.push((name, vec![cell])),
            }
        }
        for (_, group) in &mut groups {
            group.sort_by_key(|cell| self.value(cell));
        }
        groups
    }

    fn others_in_words(self, cell: &CellFigures) -> String {
        let (workers, queue, clients) = (cell.workers, cell.queue, cell.clients);
        match self {
            Self::Workers => format!("{clients} clients, queue {queue}"),
            Self::Queue => format!("{workers} workers, {clients} clients"),
            Self::Clients => format!("{workers} workers, queue {queue}"),
        }
    }
}
