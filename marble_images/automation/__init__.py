"""What starts runs by itself: the daily schedule, and the sensor that asks for pyramids."""

from marble_images.automation.daily_schedule import changed_files_job, daily_changed_files
from marble_images.automation.pyramid_sensor import pyramid_tiffs_job, pyramids_of_changed_files

__all__ = ["changed_files_job", "daily_changed_files", "pyramid_tiffs_job", "pyramids_of_changed_files"]
