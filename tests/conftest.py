"""Fixtures that several test files share."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.running import Pipeline, running

if "MUTANT_UNDER_TEST" in os.environ:  # mutmut runs each test hundreds of times, in processes that it forks
    settings.register_profile("mutants", max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
    settings.load_profile("mutants")

OFFLINE = {
    "test_audio",
    "test_bench",
    "test_beside",
    "test_blendshapes",
    "test_config",
    "test_default_speaks",
    "test_deploy",
    "test_docs",
    "test_doctor",
    "test_doors",
    "test_engine",
    "test_examples",
    "test_extras",
    "test_face_idle",
    "test_face_mesh",
    "test_face_rig",
    "test_face_sample",
    "test_features",
    "test_from_video",
    "test_frontend",
    "test_fused",
    "test_gpu",
    "test_hearing",
    "test_history",
    "test_install",
    "test_installed",
    "test_instance",
    "test_int8",
    "test_level",
    "test_loading",
    "test_messages",
    "test_monitoring",
    "test_motion",
    "test_package",
    "test_painter",
    "test_probe",
    "test_protocol",
    "test_protocol_errors",
    "test_protocol_exact",
    "test_render",
    "test_ring",
    "test_speaker",
    "test_splice",
    "test_synctalk_import",
    "test_system_packages",
    "test_third_party",
    "test_training_judge",
    "test_training_voice",
    "test_validation",
    "test_webclient_js",
}
"""Files of tests that compute, or wait for what they have started: nothing of theirs has to come in time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them; scripts/tests.sh runs them beside the others."""
    for item in items:
        if item.path.stem in OFFLINE:
            item.add_marker(pytest.mark.offline)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One running pipeline for all tests that leave it as they found it."""
    with running(tmp_path_factory.mktemp("pipeline") / "log.txt") as started:
        yield started
