"""The state of a machine, read from trees that the tests write."""

import pytest

from edgekit.device_agent import REASONS, Probe

TREE = {
    "proc/loadavg": "0.52 0.58 0.59 1/467 12345\n",
    "proc/meminfo": "MemTotal:        8000000 kB\nMemAvailable:    4000000 kB\n",
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Cortex-A76\n",
    "sys/class/thermal/thermal_zone0/temp": "61700\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "-274000\n",
    "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
    "sys/class/thermal/cooling_device0/cur_state": "2\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpufreq/policy0/scaling_governor": "ondemand\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "50005\n",
    "sys/class/powercap/intel-rapl:0/name": "package-0\n",
    "sys/class/powercap/intel-rapl:0/energy_uj": "123456789\n",
    "sys/class/hwmon/hwmon0/name": "ina226\n",
    "sys/class/hwmon/hwmon0/power1_input": "3500000\n",
    "sys/class/hwmon/hwmon0/power1_label": "VDD_IN\n",
    "sys/class/power_supply/battery/type": "Battery\n",
    "sys/class/power_supply/battery/capacity": "87\n",
    "sys/class/power_supply/battery/status": "Discharging\n",
    "sys/class/power_supply/battery/temp": "312\n",
    "sys/class/power_supply/battery/voltage_now": "4000000\n",
    "sys/class/power_supply/battery/current_now": "-500000\n",
}


def probe(root, tree):
    for name, text in tree.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return Probe(str(root))


def test_everything_is_read(tmp_path):
    found = probe(tmp_path, TREE).state()
    assert found["temperature_c"] == {"cpu-thermal": 61.7}
    assert found["frequency_hz"] == {"policy0": 1.5e9}
    assert found["governor"] == {"policy0": "ondemand"}
    assert found["throttled"] == {
        "flags": [
            "under-voltage now",
            "throttled now",
            "under-voltage has occurred",
            "throttling has occurred",
        ],
        "cooling": {"pwm-fan": 2},
    }
    assert found["energy_j"] == {"package-0": pytest.approx(123.456789)}
    assert found["power_w"] == {"ina226 VDD_IN": 3.5, "battery": 2.0}
    assert found["battery"] == {
        "percent": 87,
        "status": "Discharging",
        "temperature_c": pytest.approx(31.2),
    }
    assert (found["load"], found["memory_available_bytes"]) == (0.52, 4_096_000_000)
    assert set(found["not_run"]) == {"other_cpu"}


def test_what_is_not_there_is_not_run_with_the_reason(tmp_path):
    assert probe(tmp_path, {}).state() == {"not_run": REASONS}


@pytest.mark.parametrize("name", sorted(TREE))
@pytest.mark.parametrize("text", ["", "garbage\x00\x1b[31m"])
def test_damaged_files_are_like_absent_ones(tmp_path, name, text):
    found = probe(tmp_path, {**TREE, name: text}).state()
    assert set(found) - {"not_run"} <= set(REASONS)


def test_flags_of_a_healthy_board_are_no_flags(tmp_path):
    healthy = {"sys/devices/platform/soc/soc:firmware/get_throttled": "0\n"}
    assert probe(tmp_path, healthy).state()["throttled"] == {"flags": []}


def test_intels_throttle_counters_are_added_up(tmp_path):
    name = "sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count"
    found = probe(tmp_path, {name.format(0): "3\n", name.format(1): "4\n"}).state()
    assert found["throttled"] == {"events": 7}


def test_other_processes_are_told_from_our_own(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda _: 100)
    seen = probe(tmp_path, {"proc/stat": "cpu 100 0 100 5000 0 0 0 0 0 0\n"})
    clocks, times = iter([10.0, 12.0]), iter([(1.0, 0.0, 0.0, 0.0, 0.0), (2.0, 0.0, 0.0, 0.0, 0.0)])
    monkeypatch.setattr("time.monotonic", lambda: next(clocks))
    monkeypatch.setattr("os.times", lambda: next(times))
    assert seen.other_cpu() is None
    probe(tmp_path, {"proc/stat": "cpu 300 0 300 5000 0 0 0 0 0 0\n"})
    assert seen.other_cpu() == 1.5  # 4 s of 100 Hz ticks were busy in 2 s of time, 1 s of it ours
