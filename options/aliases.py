"""Other spellings of options and of their values, from the projects that published them."""

# Other name of an option -> its name here.
ALIASES = {
    "nSpeakers": "nPerSpeaker",
    "nSpeaker": "nPerSpeaker",
    "num_utt": "nPerSpeaker",
    "num_class": "nClasses",
    "num_out": "nOut",
    "embedding_size": "nOut",
    "num_mels": "n_mels",
    "pooling_type": "encoder_type",
    "pooling_method": "encoder_type",
    "num_thread": "nDataLoaderThread",
    "num_workers": "nDataLoaderThread",
    "eval_list": "test_list",
    "eval_path": "test_path",
    "learning_rate": "lr",
    "max_epochs": "max_epoch",
    "out_dir": "save_path",
    "front_end": "model",
    "train_labels_path": "train_list",
    "train_data_dir": "train_path",
    "valid_data_dir": "test_path",
    "scalingFactor": "scale",
    "marginFactor": "margin",
    "gradientAccumulation": "accumulate",
    "audioPath": "extract",
    "modelCheckpoint": "initial_model",
}
# An option in another unit -> the option here, how many of its units are one of the other, and the
# name of the other unit.
UNITS = {"window_size": ("max_frames", 100, "seconds")}
# Other spellings of values. They are not files, because some file systems ignore case.
VALUES = {"trainfunc": {"Softmax": "softmax"}, "optimizer": {"Adam": "adam", "SGD": "sgd"}}
# Settings of the double-attention trainer that --modelConfig reads.
SETTINGS = (
    "front_end",
    "kernel_size",
    "embedding_size",
    "heads_number",
    "pooling_method",
    "mask_prob",
    "normalization",
)
# A key in the YAML files of another project that is no option here -> why it is skipped. If a file
# has any other unknown key, it is an error.
FOREIGN_KEYS = {
    "nLcasses": "voxceleb_trainer ignores it too, because it is a misspelling of nClasses",
    "gpu_id": "give --device cuda:N or set CUDA_VISIBLE_DEVICES to choose a GPU",
}
