"""Name every file of a run directory and of the folder of a sweep."""

# --- a run directory

RUN_FILE = "run.json"  # what a run is, its status, its results, its cost and its provenance
SETTINGS_FILE = "config.yaml"  # the settings of the run, with every reference resolved
CURVE_FILE = "metrics.csv"  # a row of scores for each epoch, or for each setting that was tried
TEST_PREDICTIONS = "predictions.csv"  # the prediction for every test image
VALIDATION_PREDICTIONS = "validation_predictions.csv"  # the prediction for every validation image
LOG_FILE = "run.log"  # what the run printed
RANK_LOG = "rank{}.log"  # the output of another process of the run, by its rank; only if there is any
LOCK_FILE = ".lock"  # locked by the process that works in the directory; a sweep's folder has one too
PATCH_FILE = "code.patch"  # the changes of headstart's source since its commit, where there are any
PACKAGES_FILE = "packages.txt"  # every installed distribution with its version
CHECKPOINT_FOLDER = "checkpoints"  # the checkpoints and the description of the network below
BEST_CHECKPOINT = "best.ckpt"  # the whole network that was tested
EPOCH_CHECKPOINT = "epoch.ckpt"  # the trained tensors of the best epoch so far; removed when the run finishes
RESUME_CHECKPOINT = "resume.ckpt"  # the state from which an interrupted run resumes; removed when the run finishes
MODEL_FILE = "model.json"  # beside it: how the network is built and used, without settings, data or code of the run
MODEL_FEATURES = "model_features.safetensors"  # features of some training images, to tell which images are unlike them
MODEL_TENSORS = "model.safetensors"  # the network in an exported folder, beside its model.json
BEST_NETWORK = f"{CHECKPOINT_FOLDER}/{BEST_CHECKPOINT}"  # the path of the network that was tested
TENSORBOARD_FOLDER = "tensorboard"  # event files: one folder each for train, validation and test
ROBUSTNESS_FILE = "robustness.json"  # which test images were predicted right, clean and corrupted
ROBUSTNESS_TABLE = "robustness.csv"  # the same as accuracies, one row for each corruption and severity
TRACKER_FILE = "tracker_{}.json"  # what a tracker has received, by its name; wandb adds a folder of its own
EXPLAIN_FOLDER = "explain"  # the figures and tables of ``headstart explain``
PIXEL_FOLDER = "predictions"  # what is predicted for each pixel of test images
REPRODUCTION_FILE = "reproduction.json"  # the verdict of ``headstart reproduce``, where it ran

# --- the folder of a sweep

SWEEP_FILE = "sweep.json"  # the command of a sweep, its number of jobs and its process
OUTCOME_FOLDER = ".outcomes"  # one JSON file for each job: how it ended
HYDRA_FILE = "multirun.yaml"  # the settings of the sweep, as Hydra writes them
STUDY_FILE = "study.journal"  # the trials of a search, as Optuna writes them
SEARCH_FILE = "optimization_results.yaml"  # the best trial of a search
