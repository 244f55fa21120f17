"""What every rail and every camera must do, simulated or real."""

import pytest

# So that what fails there is shown as it is for the tests.
pytest.register_assert_rewrite("tests.contract.camera_checks")
