//! Times as clients read them: ISO 8601 in UTC with milliseconds, as JavaScript's `toISOString` writes it.

use cloud_agent_wire::Timestamp;

const MILLIS_PER_DAY: u64 = 86_400_000;
const DAYS_PER_ERA: u64 = 146_097;

/// The moment as text, such as `2026-08-14T11:19:55.000Z`.
#[must_use]
pub fn iso_time(at: Timestamp) -> String {
    let (days, millis) = (
        at.as_millis() / MILLIS_PER_DAY,
        at.as_millis() % MILLIS_PER_DAY,
    );
    let (year, month, day) = civil_date(days);
    let (hour, minute) = (millis / 3_600_000, millis / 60_000 % 60);
    let (second, millisecond) = (millis / 1000 % 60, millis % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Counts years from March, so that the leap day is a year's last; an era is the 400 years after which the calendar
/// repeats. 719,468 days lie between 0000-03-01 and 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let leap_days = day_of_era / 1460 + day_of_era / (DAYS_PER_ERA - 1);
    let year_of_era = (day_of_era - leap_days + day_of_era / 36_524) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, next_year) = if month_from_march < 10 {
        (month_from_march + 3, 0)
    } else {
        (month_from_march - 9, 1)
    };
    (era * 400 + year_of_era + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use cloud_agent_wire::Timestamp;

    use super::iso_time;

    #[test]
    fn times_are_written_as_javascript_writes_them() {
        for (millis, expected) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_999, "2024-12-31T23:59:59.999Z"),
            (1_735_689_600_000, "2025-01-01T00:00:00.000Z"),
            (1_786_706_395_007, "2026-08-14T11:19:55.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(iso_time(Timestamp::from_millis(millis)), expected);
        }
    }

    #[test]
    fn every_day_of_an_era_follows_the_one_before() {
        let date = |day: u64| super::civil_date(day);
        for day in 1..146_097 * 2 {
            let ((year, month, before), (next_year, next_month, after)) =
                (date(day - 1), date(day));
            let is_next = (next_year, next_month, after) == (year, month, before + 1);
            let is_first = after == 1
                && before >= 28
                && ((next_year, next_month) == (year, month + 1)
                    || (month, next_year, next_month) == (12, year + 1, 1));
            assert!(is_next || is_first, "{day}");
        }
    }
}
