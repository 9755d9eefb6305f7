"""What starts by itself: schedules, the sensor between the assets, results of days, alerts, housekeeping."""

from marble_images.automation.alert_sensor import alerts
from marble_images.automation.daily_schedule import changed_files_job, daily_changed_files
from marble_images.automation.day_results_sensor import results_of_days
from marble_images.automation.housekeeping_job import housekeeping_job, weekly_housekeeping
from marble_images.automation.pyramid_sensor import pyramid_tiffs_job, pyramids_of_changed_files

__all__ = [
    "alerts",
    "changed_files_job",
    "daily_changed_files",
    "housekeeping_job",
    "pyramid_tiffs_job",
    "pyramids_of_changed_files",
    "results_of_days",
    "weekly_housekeeping",
]
