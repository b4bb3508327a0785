#!/usr/bin/env bash
# What to run on a machine with a CUDA GPU, in a checkout whose environment `make test` has made:
# the hf loader's tests on the GPU in float32 and bfloat16, its speed against lm-evaluation-harness's own
# backend, and what mending costs against plain LoRA training in time and memory, on made models of about
# 1B parameters. Results go to benchmarks/results/.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
today=$(date -u +%F)

$python -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || {
    echo "there is no CUDA GPU here, or this torch was built without CUDA"
    exit 1
}
MUSCLE_GOV_TEST_DEVICE=cuda $python -m pytest -q -n 0 tests/test_loader_hf_device.py
for dtype in float32 bfloat16; do
    $python benchmarks/predict.py --size 1b --device cuda --dtype "$dtype" --questions 2000 --texts 512 \
        --batch-sizes 16 32 64 128 --json "benchmarks/results/$today-predict-cuda-$dtype.json"
    $python benchmarks/mitigate.py --size 1b --device cuda --dtype "$dtype" --rows 512 --lengths 200 600 \
        --rank 128 --only muscle-top muscle-live cross-entropy \
        --json "benchmarks/results/$today-mitigate-cuda-$dtype.json"
done
