"""What training and evaluation read: lists, audio, features, augmentation, packs, embeddings."""
