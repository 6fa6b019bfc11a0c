"""What a run will not do as its user may think is said at its start, and what ran is what is recorded."""

import json

import pytest
import yaml

from helpers import runs

SMALL = [*runs.QUICK, "trainer.max_epochs=1", "data.num_workers=0", "test=false"]
NADAM = ["optimizer=adamw", "optimizer._target_=torch.optim.NAdam", "~optimizer.fused"]


def trained(tmp_path, *words):
    run_dir = tmp_path / "run"
    assert runs.train([*SMALL, *words], run_dir=run_dir) == 0, runs.output(run_dir)
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    return config, json.loads((run_dir / "summary.json").read_text()), runs.output(run_dir)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (NADAM, ["eval", "torch.optim.NAdam", "at optimizer", "conf/optimizer/"]),
        (["finetune=head_only"], ["random", "model.pretrained=true", "model.checkpoint=FILE"]),
        ([], []),
    ],
)
def test_a_run_that_others_refuse_or_that_freezes_random_weights_is_warned_of(tmp_path, words, said):
    _, _, output = trained(tmp_path, *words)
    assert all(part in output for part in said), output
    assert said or ("will refuse" not in output and "random" not in output)


@pytest.mark.slow
def test_the_batch_shrinks_to_a_part_of_the_images_and_half_precision_is_what_a_cpu_has(tmp_path):
    words = ["data.train_fraction=0.005", "trainer.precision=16-mixed", "data.batch_size=64"]
    config, summary, output = trained(tmp_path, *words)
    assert (config["data"]["batch_size"], config["trainer"]["precision"]) == (16, "bf16-mixed")
    assert summary["config"] == {"batch_size": 16, "precision": "bf16-mixed"}
    assert "data.batch_size is 16 instead of 64" in output and "bf16-mixed instead of 16-mixed" in output


@pytest.mark.slow
def test_early_stopping_on_the_training_needs_no_validation(tmp_path):
    words = ["callbacks=early_stopping", "callbacks.early_stopping.monitor=train/loss",
             "callbacks.early_stopping.mode=min", "+callbacks.early_stopping.stopping_threshold=100",
             "trainer.check_val_every_n_epoch=3"]  # fmt: skip
    run_dir = tmp_path / "run"
    assert runs.train([*SMALL, *words, "trainer.max_epochs=6"], run_dir=run_dir) == 0, runs.output(run_dir)
    assert len(runs.rows(run_dir)) == 1
